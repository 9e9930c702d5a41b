-- Texts of other rooms that are secrets or hold some, always encrypted, with the keys of executor secrets (features/secrets).
create table sealed_texts (
  -- Made before the text is encrypted, which is bound to it.
  id uuid primary key,
  -- Also what keeps a key from being retired while an instance still encrypts with it.
  key_id text not null references secret_keys (id),
  -- The data key of this text, encrypted with the key of key_id; the text, encrypted with the data key.
  wrapped_key bytea not null,
  sealed_value bytea not null
);

-- The site configuration and its history (features/site-config). The one with the highest number is in force.
create table site_config_versions (
  -- From 1, one more with each change.
  version int primary key,
  -- Gone only when its key was lost and given up.
  text_id uuid not null references sealed_texts (id) on delete cascade,
  cause text not null check (cause in ('first start', 'file taken over', 'edit', 'rollback')),
  -- Which version a rollback brought back.
  restored_version int,
  -- Who made it; null: the instance itself, or a user who was deleted since.
  user_id bigint references users (id) on delete set null,
  created_at timestamptz not null default now()
);
