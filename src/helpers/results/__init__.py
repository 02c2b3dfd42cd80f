"""From saved rows to statistics, tables, figures, verdicts and the report (notebooks 05 to 10). No model is loaded."""
