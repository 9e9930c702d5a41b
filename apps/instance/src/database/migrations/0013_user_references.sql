-- Deleting a user takes it from what it submitted and what its jobs got: few rows of all that there are.
create index submitted_jobs_user on submitted_jobs (user_id);
create index executor_secret_uses_user on executor_secret_uses (user_id);
