// What the theme adds when it runs lacks two things: tables that scroll by keyboard, and a name for each menu of a code block.
let menus = 0;
const mend = () => {
  for (const table of document.querySelectorAll(".md-typeset__scrollwrap:not([tabindex])")) table.tabIndex = 0;
  for (const menu of document.querySelectorAll(".md-code__nav:not([aria-label])"))
    menu.setAttribute("aria-label", `Code block ${++menus}`);
};
new MutationObserver(mend).observe(document.documentElement, { childList: true, subtree: true });
mend();
