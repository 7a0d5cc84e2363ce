"""Plans: a policy, a target and its cohort, compiled into cells and jobs."""
