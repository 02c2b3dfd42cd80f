"""The report of a run: `./run_all.sh report` makes `runs/demo/report/index.html`, by notebook `10`.

One page that stands alone, made from the run's tables, figures, answers, manifests and executed notebooks; nothing
in it is written by hand but the words between the numbers. It has no script and loads nothing.

`claims` judges, `contents` gathers, `page` puts together.
"""
