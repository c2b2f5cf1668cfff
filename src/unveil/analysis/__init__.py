"""From similarity scores to findings: cohort, matching, inference, evidence, power and baselines."""
