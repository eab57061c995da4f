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


def report(title, runs, metrics, what):
    "Print the means with and without `what`, and the intervals of their differences; 1 in `metrics`: more is better."
    print(f"{title:32}{'with':>8}{'without':>9}  difference, 95 % interval")
    for name, sign in metrics.items():
        with_, without = ([run[c][name] for run in runs] for c in (True, False))
        mean, half = interval([a - b for a, b in zip(with_, without)])
        verdict = "no difference shown" if abs(mean) <= half else "better" if mean*sign > 0 else "worse"
        average = [sum(v)/len(v) for v in (with_, without)]
        print(f"{name:32}{average[0]:8.3f}{average[1]:9.3f}  {mean:+.3f} +- {half:.3f}  {verdict} with {what}")
