import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import {
  createBrowser,
  type Page,
  startOpenIDProvider,
  type TestBrowser,
  type TestOpenIDProvider,
} from '../../../../../test/kit/openid-provider.ts';
import { type InstanceUnderTest, startInstanceUnderTest } from '../../instance-under-test.ts';

let site: InstanceUnderTest;
let provider: TestOpenIDProvider;
let callback: string;
const clientSecret = 'hunter2-of-the-provider';

beforeAll(async () => {
  site = await startInstanceUnderTest();
  callback = `${site.instance.url}/.auth/openid-connect/callback`;
  provider = await startOpenIDProvider({ clientID: 'kiln', clientSecret, redirectURL: callback });
  await set('externalURL', site.instance.url);
  await set('auth.openIDConnect.clientID', 'kiln');
});
afterAll(async () => {
  await provider?.[Symbol.asyncDispose]();
  await site?.[Symbol.asyncDispose]();
});
beforeEach(async () => {
  await set('auth.openIDConnect.issuer', provider.issuer);
  await set('auth.openIDConnect.clientSecret', clientSecret);
  await set('auth.openIDConnect.allowSignup', true);
});

function link(name: string, subject: string) {
  return site.call('PUT', `/.api/users/${name}/external-account`, { body: { subject } });
}

async function set(key: string, value: unknown): Promise<void> {
  const reply = await site.call('PUT', `/.api/site-config/keys/${key}`, { body: { value } });
  if (reply.status !== 200) throw new Error(reply.text);
}

const signInURL = (query = '') => `${site.instance.url}/.auth/openid-connect/sign-in${query}`;

/** From the instance to the provider, through its forms, until it sends the browser back, but not back. */
async function confirm(browser: TestBrowser, account: string, query?: string): Promise<Page> {
  const login = await browser.follow(await browser.get(signInURL(query)), callback);
  if (login.location !== undefined) return login;
  const consent = await browser.follow(
    await browser.submit(login, { login: `subject-of-${account}`, password: 'any' }),
    callback,
  );
  if (consent.location !== undefined) return consent;
  return browser.follow(await browser.submit(consent, {}), callback);
}

async function signIn(browser: TestBrowser, account: string, query?: string): Promise<Page> {
  const back = await confirm(browser, account, query);
  if (back.location === undefined)
    throw new Error(`the provider did not send the browser back: ${back.text}`);
  return browser.get(back.location);
}

describe('signing in with OpenID Connect', () => {
  test('makes a user, who is the same one the next time, and goes on where it was asked to', async () => {
    const browser = createBrowser();
    const end = await signIn(browser, 'dora', '?returnTo=/.api/jobs%3Ffirst%3D1');
    expect(end).toMatchObject({ status: 303, location: `${site.instance.url}/.api/jobs?first=1` });
    expect((await browser.follow(end)).text).toBe('{"jobs":[],"nextCursor":null}');
    const jar = browser.cookies.get(new URL(site.instance.url).host);
    expect([...(jar?.keys() ?? [])]).toEqual(['kiln_session']);

    const elsewhere = createBrowser();
    const me = await elsewhere.follow(await signIn(elsewhere, 'dora'));
    expect(JSON.parse(me.text)).toMatchObject({ name: 'dora', siteAdmin: false, hasPassword: false });
    const users = await site.database.query(`select from namespaces where name like 'dora%'`);
    expect(users).toHaveLength(1);
  });

  test('never takes an account for a user who only has the same name', async () => {
    const browser = createBrowser();
    expect(await signIn(browser, 'admin')).toMatchObject({
      status: 409,
      text: expect.stringContaining('There is a user or an organization "admin" already'),
    });
    expect((await browser.get(`${site.instance.url}/.api/user`)).status).toBe(401);
  });

  test('makes names that users can have', async () => {
    const browser = createBrowser();
    const me = await browser.follow(await signIn(browser, 'Emil Müller@example.com'));
    expect(JSON.parse(me.text)).toMatchObject({ name: 'Emil-M-ller' });
    expect(await signIn(createBrowser(), '@@@')).toMatchObject({ status: 403, location: undefined });
  });

  test('is for users who were linked to an account alone, where nobody may sign up', async () => {
    await set('auth.openIDConnect.allowSignup', false);
    await site.call('POST', '/.api/users', { body: { name: 'fritz' } });
    await site.call('POST', '/.api/users', { body: { name: 'greta' } });
    expect(await signIn(createBrowser(), 'fritz')).toMatchObject({
      status: 403,
      text: expect.stringContaining('No user signs in with the account "subject-of-fritz"'),
    });
    expect((await link('fritz', 'subject-of-freddy')).status).toBe(204);
    expect((await link('fritz', 'subject-of-fritz')).status).toBe(204);
    expect(await link('greta', 'subject-of-fritz')).toMatchObject({
      status: 409,
      json: { error: { code: 'account_taken' } },
    });
    expect((await link('nobody', 'x')).status).toBe(404);
    const browser = createBrowser();
    expect(JSON.parse((await browser.follow(await signIn(browser, 'fritz'))).text)).toMatchObject({
      name: 'fritz',
    });
    expect((await signIn(createBrowser(), 'freddy')).status).toBe(403);

    await site.call('DELETE', '/.api/users/fritz');
    expect((await browser.get(`${site.instance.url}/.api/user`)).status).toBe(401);
    expect((await signIn(createBrowser(), 'fritz')).status).toBe(403);
  });

  test('finds who was linked, however the setting writes the issuer', async () => {
    await set('auth.openIDConnect.allowSignup', false);
    await set('auth.openIDConnect.issuer', `${provider.issuer}/`);
    await site.call('POST', '/.api/users', { body: { name: 'hanna' } });
    expect((await link('hanna', 'subject-of-hanna')).status).toBe(204);
    const browser = createBrowser();
    expect(JSON.parse((await browser.follow(await signIn(browser, 'hanna'))).text)).toMatchObject({
      name: 'hanna',
    });
  });

  test('needs no name of whoever was linked, where the provider tells none', async () => {
    const client = { clientID: 'kiln', clientSecret, redirectURL: callback };
    await using nameless = await startOpenIDProvider(client, { tellsNames: false });
    await set('auth.openIDConnect.issuer', nameless.issuer);
    await site.call('POST', '/.api/users', { body: { name: 'ida' } });
    expect((await link('ida', 'subject-of-ida')).status).toBe(204);
    const browser = createBrowser();
    expect(JSON.parse((await browser.follow(await signIn(browser, 'ida'))).text)).toMatchObject({
      name: 'ida',
    });
    expect(await signIn(createBrowser(), 'jan')).toMatchObject({
      status: 403,
      text: expect.stringContaining('gives the account "subject-of-jan" no name'),
    });
  });
});

describe('a sign-in is refused', () => {
  const refused = { status: 403, location: undefined };

  test('to a browser that did not begin it: nobody is signed in as somebody else', async () => {
    const attacker = createBrowser();
    const { location = '' } = await confirm(attacker, 'mallory');
    const victim = createBrowser();
    expect(await victim.get(location)).toMatchObject(refused);
    // Nor where the victim has begun another one.
    await victim.get(signInURL());
    expect(await victim.get(location)).toMatchObject(refused);
    expect((await victim.get(`${site.instance.url}/.api/user`)).status).toBe(401);
  });

  test('with a code that was used, exchanged or made up, and when the provider says no', async () => {
    const browser = createBrowser();
    const { location = '' } = await confirm(browser, 'dora');
    const jar = browser.cookies.get(new URL(site.instance.url).host);
    const begun = new Map(jar);
    expect((await browser.get(location)).status).toBe(303);
    const again = async (change: (url: URL) => void) => {
      for (const [name, value] of begun) jar?.set(name, value);
      const url = new URL(location);
      change(url);
      return browser.get(url.href);
    };
    expect(await again(() => undefined)).toMatchObject(refused);
    expect(await again((url) => url.searchParams.set('code', 'made-up'))).toMatchObject(refused);
    expect(await again((url) => url.searchParams.set('state', 'made-up'))).toMatchObject(refused);
    expect(await again((url) => url.searchParams.delete('code'))).toMatchObject(refused);
    expect(await again((url) => url.searchParams.set('iss', 'https://evil.example'))).toMatchObject(refused);
    expect(
      await again((url) => {
        url.searchParams.delete('code');
        url.searchParams.set('error', 'access_denied');
      }),
    ).toMatchObject(refused);
  });

  test.each([
    'https://evil.example/',
    '//evil.example/',
    '/.//evil.example/',
    '/jobs/..//evil.example/',
    '/\\evil.example/',
    'jobs',
    '/\t/evil.example',
  ])('with a return to %j: nobody is sent elsewhere', async (returnTo) => {
    const page = await createBrowser().get(signInURL(`?returnTo=${encodeURIComponent(returnTo)}`));
    expect(page).toMatchObject({ status: 400, location: undefined });
  });

  test('with a wrong secret of the client, and nothing secret is in the log', async () => {
    await set('auth.openIDConnect.clientSecret', 'a-wrong-secret-of-the-client');
    const browser = createBrowser();
    const { location = '' } = await confirm(browser, 'dora');
    expect(await browser.get(location)).toMatchObject(refused);
    const logged = JSON.stringify(site.logLines);
    expect(logged).toContain('a sign-in with OpenID Connect failed');
    for (const secret of ['hunter2', 'a-wrong-secret', new URL(location).searchParams.get('code') ?? '?']) {
      expect(logged).not.toContain(secret);
    }
  });

  test('where no provider is configured, or it does not answer', async () => {
    await using other = await startInstanceUnderTest();
    const url = `${other.instance.url}/.auth/openid-connect/sign-in`;
    expect((await createBrowser().get(url)).status).toBe(404);
    for (const [key, value] of Object.entries({
      externalURL: other.instance.url,
      'auth.openIDConnect.issuer': 'http://127.0.0.1:1',
      'auth.openIDConnect.clientID': 'kiln',
      'auth.openIDConnect.clientSecret': clientSecret,
    })) {
      await other.call('PUT', `/.api/site-config/keys/${key}`, { body: { value } });
    }
    expect(await createBrowser().get(url)).toMatchObject({
      status: 502,
      text: expect.stringContaining('cannot be reached'),
    });
  });
});
