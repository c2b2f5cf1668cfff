"""Small generators trained on real faces whose names are known: what no published set tells.

`make` trains them and writes their faces, `measure` puts them through the audit and compares scores of the same people,
and `summarise` writes the tables and the plot of docs/figures/lab.
"""
