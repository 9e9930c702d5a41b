-- Executor secrets, always encrypted (features/secrets). A row without more is global.

-- Keys that wrap the data keys of secrets, by a fingerprint: an instance without one of them does not start.
create table secret_keys (
  id text primary key,
  created_at timestamptz not null default now()
);

create table executor_secrets (
  -- Made before the value is encrypted, which is bound to it.
  id uuid primary key,
  scope text not null check (scope in ('BATCHES', 'CODEINTEL', 'JOBS')),
  key text not null check (key ~ '^[A-Z][A-Z0-9_]*$' and length(key) <= 255),
  -- From 1, one more with each new value.
  version int not null,
  -- Also what keeps a key from being retired while an instance still encrypts with it.
  key_id text not null references secret_keys (id),
  -- The data key of this version, encrypted with the key of key_id; the value, encrypted with the data key.
  wrapped_key bytea not null,
  sealed_value bytea not null,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);
create unique index executor_secrets_key on executor_secrets (scope, key);

-- Who got which secret when. Outlives secrets, jobs and executors: nothing here refers to them but by name.
create table executor_secret_uses (
  id bigint generated always as identity primary key,
  secret_id uuid not null,
  scope text not null,
  key text not null,
  version int not null,
  job_id bigint not null,
  attempt int not null,
  executor text not null,
  user_id bigint references users (id) on delete set null,
  cause text not null check (cause in ('requested', 'registry')),
  used_at timestamptz not null default now()
);
create index executor_secret_uses_key on executor_secret_uses (key, id desc);
create index executor_secret_uses_old on executor_secret_uses using brin (used_at) with (pages_per_range = 32);
