-- What the migrations amount to. Written by a test; see CONTRIBUTING.md.

CREATE OR REPLACE FUNCTION public.kiln_now()
 RETURNS timestamp with time zone
 LANGUAGE sql
 STABLE PARALLEL SAFE
AS $function$select now()$function$
;

create sequence lane_turns start 1024 increment 1024 minvalue 1 maxvalue 9223372036854775807 cache 1;

create table access_tokens (
  id bigint generated always as identity not null,
  user_id bigint not null,
  note text not null,
  token_sha256 bytea not null,
  created_at timestamp with time zone default now() not null,
  expires_at timestamp with time zone,
  last_used_at timestamp with time zone,
  scope text default 'all'::text not null,
  constraint access_tokens_pkey PRIMARY KEY (id),
  constraint access_tokens_scope_check CHECK ((scope = ANY (ARRAY['all'::text, 'jobs'::text, 'read'::text]))),
  constraint access_tokens_token_sha256_check CHECK ((length(token_sha256) = 32)),
  constraint access_tokens_token_sha256_key UNIQUE (token_sha256),
  constraint access_tokens_user_id_fkey FOREIGN KEY (user_id) REFERENCES users(id) ON DELETE CASCADE
);

create table beat (
  only_row boolean default true not null,
  at timestamp with time zone not null,
  constraint beat_pkey PRIMARY KEY (only_row),
  constraint beat_only_row_check CHECK (only_row)
);

create table blob_directory (
  only_row boolean default true not null,
  id uuid not null,
  constraint blob_directory_pkey PRIMARY KEY (only_row),
  constraint blob_directory_only_row_check CHECK (only_row)
);

create table data_directories (
  id uuid not null,
  first_started_at timestamp with time zone default now() not null,
  constraint data_directories_pkey PRIMARY KEY (id)
);

create table executor_secret_uses (
  id bigint generated always as identity not null,
  secret_id uuid not null,
  scope text not null,
  key text not null,
  version integer not null,
  job_id bigint not null,
  attempt integer not null,
  executor text not null,
  user_id bigint,
  cause text not null,
  used_at timestamp with time zone default now() not null,
  constraint executor_secret_uses_pkey PRIMARY KEY (id),
  constraint executor_secret_uses_cause_check CHECK ((cause = ANY (ARRAY['requested'::text, 'registry'::text]))),
  constraint executor_secret_uses_user_id_fkey FOREIGN KEY (user_id) REFERENCES users(id) ON DELETE SET NULL
);

create table executor_secrets (
  id uuid not null,
  scope text not null,
  key text not null,
  version integer not null,
  key_id text not null,
  wrapped_key bytea not null,
  sealed_value bytea not null,
  created_at timestamp with time zone default now() not null,
  updated_at timestamp with time zone default now() not null,
  constraint executor_secrets_pkey PRIMARY KEY (id),
  constraint executor_secrets_key_check CHECK (((key ~ '^[A-Z][A-Z0-9_]*$'::text) AND (length(key) <= 255))),
  constraint executor_secrets_key_id_fkey FOREIGN KEY (key_id) REFERENCES secret_keys(id),
  constraint executor_secrets_scope_check CHECK ((scope = ANY (ARRAY['BATCHES'::text, 'CODEINTEL'::text, 'JOBS'::text])))
);

create table executors (
  name text not null,
  queues text[] not null,
  os text not null,
  architecture text not null,
  docker_version text not null,
  executor_version text not null,
  git_version text not null,
  ignite_version text not null,
  src_cli_version text not null,
  kiln_version text not null,
  extensions text[] not null,
  slots bigint,
  running bigint,
  isolation jsonb,
  draining boolean default false not null,
  ended_because text,
  first_seen_at timestamp with time zone default now() not null,
  last_seen_at timestamp with time zone default now() not null,
  constraint executors_pkey PRIMARY KEY (name)
) with (fillfactor=60, autovacuum_vacuum_scale_factor=0.02);

create table external_identities (
  issuer text not null,
  subject text not null,
  user_id bigint not null,
  created_at timestamp with time zone default now() not null,
  constraint external_identities_pkey PRIMARY KEY (issuer, subject),
  constraint external_identities_user_id_fkey FOREIGN KEY (user_id) REFERENCES users(id) ON DELETE CASCADE
);

create table job_logs (
  job_id bigint not null,
  attempt integer not null,
  entries integer not null,
  kept_bytes bigint default 0 not null,
  settled boolean default false not null,
  written_at timestamp with time zone default now() not null,
  constraint job_logs_pkey PRIMARY KEY (job_id)
) with (fillfactor=70);

create table jobs (
  id bigint generated always as identity not null,
  queue text not null,
  tenant bigint not null,
  producer text not null,
  state text default 'queued'::text not null,
  in_lane boolean not null,
  returned boolean default false not null,
  priority smallint not null,
  needs_limits boolean not null,
  timeout_seconds integer not null,
  repository_name text,
  attempt integer default 0 not null,
  resets integer default 0 not null,
  unconfirmed integer default 0 not null,
  executor_name text,
  isolation jsonb,
  token_sha256 bytea,
  lease_expires_at timestamp with time zone,
  confirm_by timestamp with time zone,
  deadline_at timestamp with time zone,
  cancel_requested boolean default false not null,
  cancel_requested_at timestamp with time zone,
  cancel_reason text,
  final_mark text,
  failure_kind text,
  failure_message text,
  usage jsonb default '[]'::jsonb not null,
  queued_at timestamp with time zone default kiln_now() not null,
  available_at timestamp with time zone,
  started_at timestamp with time zone,
  finished_at timestamp with time zone,
  constraint jobs_pkey PRIMARY KEY (id),
  constraint jobs_cancel_reason_check CHECK ((cancel_reason = ANY (ARRAY['user'::text, 'timeout'::text]))),
  constraint jobs_check CHECK (((NOT in_lane) OR (state = ANY (ARRAY['queued'::text, 'processing'::text])))),
  constraint jobs_check1 CHECK ((NOT (in_lane AND cancel_requested))),
  constraint jobs_check2 CHECK (((finished_at IS NOT NULL) = (state = ANY (ARRAY['completed'::text, 'failed'::text, 'canceled'::text])))),
  constraint jobs_check3 CHECK (((failure_kind IS NOT NULL) = (state = 'failed'::text))),
  constraint jobs_failure_kind_check CHECK ((failure_kind = ANY (ARRAY['errored'::text, 'failed'::text, 'lost'::text, 'timeout'::text, 'document'::text]))),
  constraint jobs_final_mark_check CHECK ((final_mark = ANY (ARRAY['complete'::text, 'errored'::text, 'failed'::text]))),
  constraint jobs_priority_check CHECK (((priority >= '-100'::integer) AND (priority <= 100))),
  constraint jobs_state_check CHECK ((state = ANY (ARRAY['queued'::text, 'processing'::text, 'completed'::text, 'failed'::text, 'canceled'::text]))),
  constraint jobs_timeout_seconds_check CHECK ((timeout_seconds > 0))
) with (fillfactor=70, autovacuum_vacuum_scale_factor=0.02, autovacuum_vacuum_threshold=1000, autovacuum_vacuum_insert_scale_factor=0.05, autovacuum_analyze_scale_factor=0.05, autovacuum_vacuum_cost_delay=1);

create table lanes (
  queue text not null,
  tenant bigint not null,
  served bigint default 0 not null,
  waiting integer default 0 not null,
  waiting_plain integer default 0 not null,
  constraint lanes_pkey PRIMARY KEY (queue, tenant),
  constraint lanes_check CHECK (((waiting_plain >= 0) AND (waiting_plain <= waiting))),
  constraint lanes_waiting_check CHECK ((waiting >= 0))
) with (fillfactor=50, autovacuum_vacuum_scale_factor=0, autovacuum_vacuum_threshold=500, autovacuum_vacuum_cost_delay=0);

create table log_blobs (
  blob_key text not null,
  job_id bigint not null,
  constraint log_blobs_pkey PRIMARY KEY (blob_key)
);

create table log_chunks (
  job_id bigint not null,
  attempt integer not null,
  entry integer not null,
  start bigint not null,
  data bytea not null,
  constraint log_chunks_pkey PRIMARY KEY (job_id, attempt, entry, start)
);

create table log_entries (
  job_id bigint not null,
  attempt integer not null,
  entry integer not null,
  key text not null,
  command jsonb not null,
  started_at timestamp with time zone not null,
  exit_code bigint,
  duration_ms bigint,
  received_bytes bigint default 0 not null,
  bytes bigint default 0 not null,
  dropped boolean default false not null,
  sha256 bytea,
  revision integer default 0 not null,
  blob_key text,
  blob_offset bigint,
  archived_bytes bigint default 0 not null,
  constraint log_entries_pkey PRIMARY KEY (job_id, attempt, entry)
) with (fillfactor=70);

create table namespaces (
  id bigint generated always as identity not null,
  name text not null,
  kind text not null,
  created_at timestamp with time zone default now() not null,
  constraint namespaces_pkey PRIMARY KEY (id),
  constraint namespaces_kind_check CHECK ((kind = ANY (ARRAY['user'::text, 'organization'::text]))),
  constraint namespaces_name_check CHECK (((length(name) >= 1) AND (length(name) <= 255)))
);

create table organization_members (
  organization_id bigint not null,
  user_id bigint not null,
  role text not null,
  created_at timestamp with time zone default now() not null,
  constraint organization_members_pkey PRIMARY KEY (organization_id, user_id),
  constraint organization_members_organization_id_fkey FOREIGN KEY (organization_id) REFERENCES namespaces(id) ON DELETE CASCADE,
  constraint organization_members_role_check CHECK ((role = ANY (ARRAY['member'::text, 'admin'::text]))),
  constraint organization_members_user_id_fkey FOREIGN KEY (user_id) REFERENCES users(id) ON DELETE CASCADE
);

create table past_attempts (
  job_id bigint not null,
  attempt integer not null,
  executor_name text,
  isolation jsonb,
  started_at timestamp with time zone,
  ended_at timestamp with time zone not null,
  ended text not null,
  failure_kind text,
  message text,
  usage jsonb default '[]'::jsonb not null,
  constraint past_attempts_pkey PRIMARY KEY (job_id, attempt),
  constraint past_attempts_ended_check CHECK ((ended = ANY (ARRAY['lost'::text, 'unconfirmed'::text, 'unclaimed'::text, 'released'::text, 'document'::text, 'completed'::text, 'failed'::text, 'canceled'::text]))),
  constraint past_attempts_job_id_fkey FOREIGN KEY (job_id) REFERENCES jobs(id) ON DELETE CASCADE
);

create table repositories (
  id bigint generated always as identity not null,
  name text not null,
  clone_url text not null,
  status text default 'new'::text not null,
  last_error text,
  last_fetched_at timestamp with time zone,
  default_branch text,
  head_commit text,
  size_bytes bigint,
  created_at timestamp with time zone default now() not null,
  constraint repositories_pkey PRIMARY KEY (id),
  constraint repositories_check CHECK (((status = 'failed'::text) = (last_error IS NOT NULL))),
  constraint repositories_clone_url_check CHECK (((length(clone_url) >= 1) AND (length(clone_url) <= 8192))),
  constraint repositories_head_commit_check CHECK ((head_commit ~ '^[0-9a-f]{40}$'::text)),
  constraint repositories_name_check CHECK (((length(name) >= 1) AND (length(name) <= 512))),
  constraint repositories_name_key UNIQUE (name),
  constraint repositories_size_bytes_check CHECK ((size_bytes >= 0)),
  constraint repositories_status_check CHECK ((status = ANY (ARRAY['new'::text, 'ready'::text, 'failed'::text])))
);

create table schema_migrations (
  version integer not null,
  name text not null,
  checksum text not null,
  kiln_version text not null,
  applied_at timestamp with time zone default now() not null,
  constraint schema_migrations_pkey PRIMARY KEY (version)
);

create table sealed_texts (
  id uuid not null,
  key_id text not null,
  wrapped_key bytea not null,
  sealed_value bytea not null,
  constraint sealed_texts_pkey PRIMARY KEY (id),
  constraint sealed_texts_key_id_fkey FOREIGN KEY (key_id) REFERENCES secret_keys(id)
);

create table secret_keys (
  id text not null,
  created_at timestamp with time zone default now() not null,
  constraint secret_keys_pkey PRIMARY KEY (id)
);

create table sessions (
  id bigint generated always as identity not null,
  user_id bigint not null,
  token_sha256 bytea not null,
  created_at timestamp with time zone default now() not null,
  expires_at timestamp with time zone not null,
  last_used_at timestamp with time zone default now() not null,
  constraint sessions_pkey PRIMARY KEY (id),
  constraint sessions_token_sha256_check CHECK ((length(token_sha256) = 32)),
  constraint sessions_token_sha256_key UNIQUE (token_sha256),
  constraint sessions_user_id_fkey FOREIGN KEY (user_id) REFERENCES users(id) ON DELETE CASCADE
);

create table sign_in_attempts (
  subject_sha256 bytea not null,
  count integer not null,
  window_ends_at timestamp with time zone not null,
  constraint sign_in_attempts_pkey PRIMARY KEY (subject_sha256),
  constraint sign_in_attempts_subject_sha256_check CHECK ((length(subject_sha256) = 32))
);

create table site_config_versions (
  version integer not null,
  text_id uuid not null,
  cause text not null,
  restored_version integer,
  user_id bigint,
  created_at timestamp with time zone default now() not null,
  constraint site_config_versions_pkey PRIMARY KEY (version),
  constraint site_config_versions_cause_check CHECK ((cause = ANY (ARRAY['first start'::text, 'file taken over'::text, 'edit'::text, 'rollback'::text]))),
  constraint site_config_versions_text_id_fkey FOREIGN KEY (text_id) REFERENCES sealed_texts(id) ON DELETE CASCADE,
  constraint site_config_versions_user_id_fkey FOREIGN KEY (user_id) REFERENCES users(id) ON DELETE SET NULL
);

create table submitted_files (
  key text not null,
  job_id bigint,
  created_at timestamp with time zone default now() not null,
  constraint submitted_files_pkey PRIMARY KEY (key),
  constraint submitted_files_job_id_fkey FOREIGN KEY (job_id) REFERENCES jobs(id) ON DELETE SET NULL
);

create table submitted_jobs (
  job_id bigint not null,
  user_id bigint,
  repository text,
  revision text,
  commit text,
  spec jsonb not null,
  files jsonb not null,
  notices text[] not null,
  idempotency_key text,
  body_sha256 bytea,
  constraint submitted_jobs_pkey PRIMARY KEY (job_id),
  constraint submitted_jobs_commit_check CHECK ((commit ~ '^[0-9a-f]{40}([0-9a-f]{24})?$'::text)),
  constraint submitted_jobs_job_id_fkey FOREIGN KEY (job_id) REFERENCES jobs(id) ON DELETE CASCADE,
  constraint submitted_jobs_user_id_fkey FOREIGN KEY (user_id) REFERENCES users(id) ON DELETE SET NULL
);

create table users (
  id bigint generated always as identity not null,
  namespace_id bigint not null,
  site_admin boolean default false not null,
  created_at timestamp with time zone default now() not null,
  password_hash text,
  constraint users_pkey PRIMARY KEY (id),
  constraint users_namespace_id_fkey FOREIGN KEY (namespace_id) REFERENCES namespaces(id) ON DELETE CASCADE,
  constraint users_namespace_id_key UNIQUE (namespace_id),
  constraint users_password_hash_check CHECK ((password_hash ~~ '$argon2id$%'::text))
);

CREATE INDEX access_tokens_user ON public.access_tokens USING btree (user_id);

CREATE INDEX executor_secret_uses_key ON public.executor_secret_uses USING btree (key, id DESC);

CREATE INDEX executor_secret_uses_old ON public.executor_secret_uses USING brin (used_at) WITH (pages_per_range='32');

CREATE INDEX executor_secret_uses_user ON public.executor_secret_uses USING btree (user_id);

CREATE UNIQUE INDEX executor_secrets_key ON public.executor_secrets USING btree (scope, key);

CREATE INDEX executors_by_first_seen ON public.executors USING btree (first_seen_at DESC, name);

CREATE INDEX external_identities_user ON public.external_identities USING btree (user_id);

CREATE INDEX job_logs_to_archive ON public.job_logs USING btree (job_id) WHERE (NOT settled);

CREATE INDEX jobs_delayed ON public.jobs USING btree (available_at) WHERE ((state = 'queued'::text) AND (NOT in_lane));

CREATE INDEX jobs_finished ON public.jobs USING brin (finished_at) WITH (pages_per_range='32');

CREATE INDEX jobs_lane ON public.jobs USING btree (queue, tenant, returned DESC, priority DESC, id) WHERE in_lane;

CREATE INDEX jobs_lane_plain ON public.jobs USING btree (queue, tenant, returned DESC, priority DESC, id) WHERE (in_lane AND (NOT needs_limits));

CREATE INDEX jobs_processing ON public.jobs USING btree (executor_name) WHERE (state = 'processing'::text);

CREATE INDEX jobs_queued ON public.jobs USING btree (id) WHERE (state = 'queued'::text);

CREATE INDEX jobs_tenant ON public.jobs USING btree (tenant, id);

CREATE INDEX jobs_unsuccessful ON public.jobs USING btree (id) WHERE (state = ANY (ARRAY['failed'::text, 'canceled'::text]));

CREATE INDEX lanes_waiting ON public.lanes USING btree (queue, served) WHERE (waiting > 0);

CREATE INDEX lanes_waiting_plain ON public.lanes USING btree (queue, served) WHERE (waiting_plain > 0);

CREATE INDEX log_blobs_by_job ON public.log_blobs USING btree (job_id);

CREATE UNIQUE INDEX namespaces_name ON public.namespaces USING btree (lower(name));

CREATE INDEX organization_members_user ON public.organization_members USING btree (user_id);

CREATE INDEX sessions_user ON public.sessions USING btree (user_id);

CREATE INDEX sign_in_attempts_old ON public.sign_in_attempts USING btree (window_ends_at);

CREATE INDEX submitted_files_job ON public.submitted_files USING btree (job_id) WHERE (job_id IS NOT NULL);

CREATE INDEX submitted_files_orphans ON public.submitted_files USING btree (created_at) WHERE (job_id IS NULL);

CREATE UNIQUE INDEX submitted_jobs_idempotency ON public.submitted_jobs USING btree (user_id, idempotency_key) WHERE (idempotency_key IS NOT NULL);

CREATE INDEX submitted_jobs_user ON public.submitted_jobs USING btree (user_id);
