"""Looking at data and results: a scene viewer and a report of a run, each one HTML file."""
