import { z } from 'zod';

/** Of users and organizations, in paths, cookies' logs and terminals: nothing in them needs to be quoted. */
export const accountNameSchema = z
  .string()
  .max(39)
  .regex(
    /^[A-Za-z0-9](?:[A-Za-z0-9]|[-._](?=[A-Za-z0-9]))*$/,
    'must be letters and digits, with single "-", "." or "_" between them',
  );

export const passwordCharacters = { min: 12, max: 256 } as const;

export const passwordSchema = z
  .string()
  .min(passwordCharacters.min)
  .max(passwordCharacters.max)
  .refine((text) => text.isWellFormed(), 'must be valid Unicode text')
  .meta({ description: 'Any characters; never given out again' });

/** What a program asks for a password with: what is refused for its form cannot be anybody's password. */
const givenPassword = z.string().max(passwordCharacters.max);

const time = z.string().meta({ format: 'date-time' });

export const userViewSchema = z
  .object({
    name: z.string(),
    siteAdmin: z.boolean(),
    hasPassword: z.boolean().meta({ description: 'Whether the user can sign in with a password' }),
    createdAt: time,
  })
  .meta({ id: 'User' });
export type UserView = z.infer<typeof userViewSchema>;

export const userListSchema = z.object({ users: z.array(userViewSchema) });

/** Body of `POST /.api/users`. */
export const createUserSchema = z
  .strictObject({
    name: accountNameSchema,
    siteAdmin: z.boolean().default(false),
    password: passwordSchema.optional(),
  })
  .meta({ id: 'CreateUser' });
export type CreateUser = z.infer<typeof createUserSchema>;

/** Body of `PUT /.api/users/:name/password`. */
export const setPasswordSchema = z
  .strictObject({
    password: passwordSchema,
    currentPassword: givenPassword.optional().meta({
      description:
        'Needed by users who set their own and have one; site admins set those of others without it',
    }),
  })
  .meta({ id: 'SetPassword' });
export type SetPassword = z.infer<typeof setPasswordSchema>;

/** Body of `POST /.api/session`. */
export const signInSchema = z
  .strictObject({ name: z.string().max(255), password: givenPassword })
  .meta({ id: 'SignIn' });
export type SignIn = z.infer<typeof signInSchema>;

/** Body of `PUT /.api/users/:name/site-admin`. */
export const setSiteAdminSchema = z.strictObject({ siteAdmin: z.boolean() }).meta({ id: 'SetSiteAdmin' });

/** Body of `PUT /.api/users/:name/external-account`. */
export const linkAccountSchema = z
  .strictObject({
    subject: z
      .string()
      .min(1)
      .max(255)
      .meta({ description: 'How the provider calls the account: its "sub"' }),
  })
  .meta({ id: 'LinkAccount' });

export const sessionViewSchema = z
  .object({
    id: z.int(),
    current: z.boolean().meta({ description: 'The one that this request came with' }),
    createdAt: time,
    lastUsedAt: time,
    expiresAt: time,
  })
  .meta({ id: 'Session' });
export type SessionView = z.infer<typeof sessionViewSchema>;

export const sessionListSchema = z.object({ sessions: z.array(sessionViewSchema) });

/** What a token may do of what its user may. */
export const tokenScopeSchema = z.enum(['all', 'jobs', 'read']).meta({
  description:
    'all: everything that its user may; jobs: submit, see, cancel and retry jobs, see and sync repositories; read: see jobs and repositories. Only "all" has the rights of a site admin',
});
export type TokenScope = z.infer<typeof tokenScopeSchema>;

export const accessTokenViewSchema = z
  .object({
    id: z.int(),
    note: z.string(),
    scope: tokenScopeSchema,
    createdAt: time,
    expiresAt: time.nullable().meta({ description: 'null: never' }),
    lastUsedAt: time.nullable().meta({ description: 'To the minute' }),
  })
  .meta({ id: 'AccessToken' });
export type AccessTokenView = z.infer<typeof accessTokenViewSchema>;

export const accessTokenListSchema = z.object({ accessTokens: z.array(accessTokenViewSchema) });

const newToken = {
  note: z
    .string()
    .min(1)
    .max(200)
    .regex(/^\P{Cc}*$/u, 'must be one line')
    .meta({ description: 'What it is for' }),
  scope: tokenScopeSchema.default('all'),
  expiresInDays: z.int().min(1).max(3650).optional().meta({ description: 'Never, when left out' }),
};

/** Body of `POST /.api/access-tokens`. */
export const createAccessTokenSchema = z.strictObject(newToken).meta({ id: 'CreateAccessToken' });
export type CreateAccessToken = z.infer<typeof createAccessTokenSchema>;

/** Body of `POST /.api/access-tokens/by-password`. */
export const createAccessTokenByPasswordSchema = z
  .strictObject({ ...signInSchema.shape, ...newToken })
  .meta({ id: 'CreateAccessTokenByPassword' });

export const createdAccessTokenSchema = z
  .object({
    token: z.string().meta({ description: 'Shown this once' }),
    user: z.string(),
    accessToken: accessTokenViewSchema,
  })
  .meta({ id: 'CreatedAccessToken' });
export type CreatedAccessToken = z.infer<typeof createdAccessTokenSchema>;
