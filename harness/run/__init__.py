"""The pipeline of one run: read, connect, build, plan, measure, summarise, judge."""
