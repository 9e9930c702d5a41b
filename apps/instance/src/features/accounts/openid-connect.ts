import {
  allowInsecureRequests,
  authorizationCodeGrant,
  buildAuthorizationUrl,
  type Configuration,
  calculatePKCECodeChallenge,
  discovery,
  fetchUserInfo,
  randomNonce,
  randomPKCECodeVerifier,
  randomState,
} from 'openid-client';
import type { Logger } from 'pino';
import { ApiError } from '../../api-error.ts';

/** What the site configuration says about the provider. */
export interface OpenIDConnectSettings {
  issuer: string;
  clientID: string;
  clientSecret: string;
  /** Make users for accounts that are not known. */
  allowSignup: boolean;
}

/** A sign-in that has begun: what the browser keeps until the provider sends it back. */
export interface BegunSignIn {
  state: string;
  nonce: string;
  codeVerifier: string;
}

/** An account of the provider, as its ID token describes it. */
export interface ExternalAccount {
  issuer: string;
  /** Never given to another account of the issuer. */
  subject: string;
  /**
   * What the account would like to be called, if the provider says it; people choose it themselves, so it proves
   * nothing. Asked for only when it is needed: many providers tell names separately, and some not at all.
   */
  preferredName(): Promise<string | undefined>;
}

/** The authorization code flow with PKCE (OpenID Connect Core 1.0, 3.1; RFC 7636). */
export interface OpenIDConnect {
  /**
   * What the provider calls itself, also in `ExternalAccount`. The setting may have a slash at its end that this has not,
   * or the other way round.
   * @throws ApiError 502 `provider_unavailable`
   */
  issuer(settings: OpenIDConnectSettings): Promise<string>;
  /** @throws ApiError 502 `provider_unavailable` */
  begin(settings: OpenIDConnectSettings, redirectURL: URL): Promise<{ url: URL; begun: BegunSignIn }>;
  /**
   * @param answer the address at which the provider sent the browser back, with what it says
   * @throws ApiError 403 `provider_refused`, 502 `provider_unavailable`
   */
  finish(settings: OpenIDConnectSettings, answer: URL, begun: BegunSignIn): Promise<ExternalAccount>;
}

/** A provider that answers later than this is of no use to somebody who waits to sign in. */
const timeoutSeconds = 10;

export function createOpenIDConnect(log: Logger): OpenIDConnect {
  let discovered: { key: string; configuration: Promise<Configuration> } | undefined;

  async function configurationOf(settings: OpenIDConnectSettings): Promise<Configuration> {
    const { issuer, clientID, clientSecret } = settings;
    const key = JSON.stringify([issuer, clientID, clientSecret]);
    if (discovered?.key !== key) discovered = { key, configuration: discover(settings) };
    const current = discovered;
    try {
      return await current.configuration;
    } catch (err) {
      // The next one asks again.
      if (discovered === current) discovered = undefined;
      log.warn({ err, issuer }, 'the OpenID Connect provider could not be asked who it is');
      throw new ApiError(
        502,
        'provider_unavailable',
        'The OpenID Connect provider cannot be reached at the moment',
        "Try again in a few minutes; site admins find the cause in the instance's log",
      );
    }
  }

  async function askName(
    configuration: Configuration,
    accessToken: string,
    { issuer, subject }: { issuer: string; subject: string },
  ): Promise<unknown> {
    try {
      return (await fetchUserInfo(configuration, accessToken, subject)).preferred_username;
    } catch (error) {
      log.warn(
        { issuer, ...reasonOf(error) },
        'the OpenID Connect provider did not tell the name of an account',
      );
      return undefined;
    }
  }

  return {
    async issuer(settings) {
      return (await configurationOf(settings)).serverMetadata().issuer;
    },

    async begin(settings, redirectURL) {
      const configuration = await configurationOf(settings);
      const begun = { state: randomState(), nonce: randomNonce(), codeVerifier: randomPKCECodeVerifier() };
      const url = buildAuthorizationUrl(configuration, {
        redirect_uri: redirectURL.href,
        scope: 'openid profile',
        state: begun.state,
        nonce: begun.nonce,
        code_challenge: await calculatePKCECodeChallenge(begun.codeVerifier),
        code_challenge_method: 'S256',
      });
      return { url, begun };
    },

    async finish(settings, answer, { state, nonce, codeVerifier }) {
      const configuration = await configurationOf(settings);
      try {
        const tokens = await authorizationCodeGrant(configuration, answer, {
          expectedState: state,
          expectedNonce: nonce,
          pkceCodeVerifier: codeVerifier,
          idTokenExpected: true,
        });
        const claims = tokens.claims();
        if (!claims) throw new Error('the provider sent no ID token');
        const { iss: issuer, sub: subject, preferred_username: told } = claims;
        return {
          issuer,
          subject,
          async preferredName() {
            const name = told || (await askName(configuration, tokens.access_token, { issuer, subject }));
            return typeof name === 'string' ? name : undefined;
          },
        };
      } catch (error) {
        log.warn({ issuer: settings.issuer, ...reasonOf(error) }, 'a sign-in with OpenID Connect failed');
        throw new ApiError(
          403,
          'provider_refused',
          'The OpenID Connect provider did not confirm who you are',
          'Begin again: /.auth/openid-connect/sign-in',
        );
      }
    },
  };
}

function discover({ issuer, clientID, clientSecret }: OpenIDConnectSettings): Promise<Configuration> {
  const url = new URL(issuer);
  // The settings allow it on this machine alone.
  const execute = url.protocol === 'http:' ? [allowInsecureRequests] : [];
  return discovery(url, clientID, clientSecret, undefined, { execute, timeout: timeoutSeconds });
}

/** An error's words alone: what else it has may be tokens. */
function reasonOf(error: unknown): { code: string | undefined; reason: string } {
  const { message, code } = error as Error & { code?: string };
  return { code, reason: message };
}
