"""Small generators trained on real faces whose names are known: what no published set tells.

`make` trains them and writes their faces, `attack` measures which scores give the people behind them away, `audits`
puts them through the audit itself, and `summarise` writes the tables and the plot of docs/figures/lab.
"""
