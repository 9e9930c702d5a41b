-- How people sign in: passwords, sessions, and access tokens that may do less than their user.

-- In the PHC string format of argon2id; null: this user cannot sign in with a password.
alter table users add column password_hash text check (password_hash like '$argon2id$%');

alter table access_tokens add column scope text not null default 'all' check (scope in ('all', 'jobs', 'read'));

create table sessions (
  id bigint generated always as identity primary key,
  user_id bigint not null references users (id) on delete cascade,
  -- The token itself is only in the cookie of the browser.
  token_sha256 bytea not null unique check (length(token_sha256) = 32),
  created_at timestamptz not null default now(),
  expires_at timestamptz not null,
  last_used_at timestamptz not null default now()
);
create index sessions_user on sessions (user_id);

-- Attempts to sign in, of each name and each network, until the window ends.
create table sign_in_attempts (
  -- The hash of a name (people type passwords there) or of a network.
  subject_sha256 bytea primary key check (length(subject_sha256) = 32),
  count int not null,
  window_ends_at timestamptz not null
);
create index sign_in_attempts_old on sign_in_attempts (window_ends_at);
