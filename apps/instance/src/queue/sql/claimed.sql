-- The middle of claim_one.sql and claim_many.sql: the jobs `picked` go to the `executor` of the same turn.
), ended_attempts as (
  insert into past_attempts (job_id, attempt, executor_name, isolation, started_at, ended_at, ended)
  select id, attempt, executor_name, isolation, started_at, kiln_now(),
    case when confirm_by is null then 'lost' else 'unconfirmed' end
  from picked where state = 'processing'
), claimed as (
  update jobs set
    state = 'processing', in_lane = false, returned = false, attempt = jobs.attempt + 1,
    resets = jobs.resets + case
      when picked.state <> 'processing' then 0
      when picked.confirm_by is null or picked.unconfirmed + 1 >= $10 then 1
      else 0 end,
    unconfirmed = case
      when picked.state <> 'processing' then jobs.unconfirmed
      when picked.confirm_by is null or picked.unconfirmed + 1 >= $10 then 0
      else picked.unconfirmed + 1 end,
    executor_name = executor.name, token_sha256 = executor.token_sha256, isolation = executor.isolation,
    lease_expires_at = kiln_now() + make_interval(secs => $7),
    confirm_by = case when executor.confirms then kiln_now() + make_interval(secs => $8) end,
    deadline_at = kiln_now() + make_interval(secs => jobs.timeout_seconds + $9),
    available_at = null, started_at = kiln_now()
  from picked join executor using (turn)
  where jobs.id = picked.id
  returning jobs.id, jobs.attempt, jobs.producer, jobs.timeout_seconds, jobs.queued_at, executor.turn
