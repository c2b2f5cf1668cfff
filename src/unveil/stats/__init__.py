"""Pure statistics on arrays: p- and q-values, intervals, balance, baselines. No files, images or engines."""
