-- The clock was set back by $1 seconds: what was due in a while is due in the same while again.
update jobs set
  lease_expires_at = lease_expires_at - make_interval(secs => $1), confirm_by = confirm_by - make_interval(secs => $1),
  deadline_at = deadline_at - make_interval(secs => $1),
  cancel_requested_at = cancel_requested_at - make_interval(secs => $1),
  available_at = available_at - make_interval(secs => $1)
where state = 'processing' or state = 'queued' and not in_lane
returning id
