import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

/** A real OpenID Connect provider, in a process of its own. */
export interface TestOpenIDProvider extends AsyncDisposable {
  issuer: string;
}

export interface TestOpenIDClient {
  clientID: string;
  clientSecret: string;
  redirectURL: string;
}

/** @param options.tellsNames false: it says of an account only which one it is, and has no userinfo endpoint */
export async function startOpenIDProvider(
  client: TestOpenIDClient,
  { tellsNames = true }: { tellsNames?: boolean } = {},
): Promise<TestOpenIDProvider> {
  const server = spawn(process.execPath, [join(import.meta.dirname, 'openid-provider-server.ts')], {
    env: {
      CLIENT_ID: client.clientID,
      CLIENT_SECRET: client.clientSecret,
      REDIRECT_URL: client.redirectURL,
      TELLS_NAMES: String(tellsNames),
    },
    // Its warnings are about what production needs.
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  const [issuer] = (await once(createInterface({ input: server.stdout }), 'line')) as [string];
  return { issuer, [Symbol.asyncDispose]: () => end(server) };
}

async function end(server: ChildProcess): Promise<void> {
  if (server.exitCode !== null || server.signalCode !== null) return;
  const exited = once(server, 'exit');
  server.kill('SIGKILL');
  await exited;
}

/** A browser: keeps the cookies of each host, follows redirects by hand, and fills in forms. */
export interface TestBrowser {
  /** Cookies by name, of the hosts that set them. */
  cookies: Map<string, Map<string, string>>;
  get(url: string): Promise<Page>;
  /** Sends the form of a page. */
  submit(page: Page, fields: Record<string, string>): Promise<Page>;
  /** Follows redirects until an address begins with `prefix`, without going there, or until a page comes. */
  follow(page: Page, prefix?: string): Promise<Page>;
}

export interface Page {
  url: string;
  status: number;
  text: string;
  /** Where a redirect leads. */
  location: string | undefined;
}

export function createBrowser(): TestBrowser {
  const cookies = new Map<string, Map<string, string>>();

  async function send(url: string, init: RequestInit = {}): Promise<Page> {
    const { host } = new URL(url);
    const jar = cookies.get(host) ?? new Map<string, string>();
    cookies.set(host, jar);
    const cookie = [...jar].map(([name, value]) => `${name}=${value}`).join('; ');
    const response = await fetch(url, { ...init, redirect: 'manual', headers: { cookie, ...init.headers } });
    for (const line of response.headers.getSetCookie()) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(line) ?? [];
      if (value === '') jar.delete(name);
      else jar.set(name, value);
    }
    const location = response.headers.get('location');
    return {
      url,
      status: response.status,
      text: await response.text(),
      location: location === null ? undefined : new URL(location, url).href,
    };
  }

  return {
    cookies,
    get: (url) => send(url),
    submit(page, fields) {
      const action = /<form[^>]* action="([^"]+)"/.exec(page.text)?.[1] ?? '';
      const hidden = page.text.matchAll(/<input type="hidden" name="([^"]+)" value="([^"]+)"/g);
      const body = new URLSearchParams(
        Object.fromEntries([...hidden].map(([, name, value]) => [name, value])),
      );
      for (const [name, value] of Object.entries(fields)) body.set(name, value);
      return send(new URL(action, page.url).href, { method: 'POST', body });
    },
    async follow(first, prefix) {
      let page = first;
      for (let hops = 0; page.location !== undefined && hops < 20; hops++) {
        if (prefix !== undefined && page.location.startsWith(prefix)) return page;
        page = await send(page.location);
      }
      return page;
    },
  };
}
