"""Makes data like the census income data set: a seed gives the same people each time. `python -m trainer.data 4000`."""

import csv
import random
import sys

COLUMNS = ["age", "education_num", "hours_per_week", "capital_gain", "is_married", "is_self_employed", "income"]


def people(count, seed=7):
    dice = random.Random(seed)
    for _ in range(count):
        age = dice.randint(17, 80)
        education = min(16, max(1, round(dice.gauss(10, 2.6))))
        hours = min(99, max(5, round(dice.gauss(40, 11))))
        gain = round(dice.expovariate(1 / 9000)) if dice.random() < 0.08 else 0
        married, own = int(dice.random() < 0.2 + age / 120), int(dice.random() < 0.11)
        score = 0.06 * (age - 38) - 0.0009 * (age - 38) ** 2 + 0.42 * (education - 10) + 0.045 * (hours - 40)
        score += 1.5 * married + gain / 5000 - 0.3 * own - 1.9 + dice.gauss(0, 1)
        yield [age, education, hours, gain, married, own, ">50K" if score > 0 else "<=50K"]


if __name__ == "__main__":
    writer = csv.writer(sys.stdout)
    writer.writerow(COLUMNS)
    writer.writerows(people(int(sys.argv[1])))
