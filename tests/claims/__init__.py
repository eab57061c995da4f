"""Claims of the papers, tested at a small scale: several seeds, equal budgets, an interval.

They take long, so no test runs them."""
import math
import statistics

# Student's t, by degrees of freedom
T_975 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}


def interval(differences):
    "Mean and half the width of the 95 % confidence interval of some differences, one per seed."
    n = len(differences)
    return statistics.mean(differences), T_975[n - 1]*statistics.stdev(differences)/math.sqrt(n)
