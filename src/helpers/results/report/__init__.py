"""The report of a run: `./run_all.sh report` makes `runs/demo/report/index.html` with notebook `10`.

One self-contained page, made from the run's tables, figures, answers, manifests and executed notebooks. Only the words
between the numbers are written by hand. It has no scripts and loads nothing.

`helpers.results.claims` judges, `contents` collects, `executed` converts notebooks, and `page` combines all of it.
"""
