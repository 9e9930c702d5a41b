import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ApiError } from '../../api-error.ts';
import { type CloneURL, parseCloneURL } from './clone-url.ts';

const parse = (text: string) => parseCloneURL(text, { allowPlainHTTP: false });

describe('clone URLs', () => {
  it.each([
    ['https://github.com/acme/widgets', 'https', 'https://github.com/acme/widgets'],
    ['https://GitHub.com:8443/acme/widgets.git', 'https', 'https://github.com:8443/acme/widgets.git'],
    ['http://127.0.0.1:3000/a', 'http', 'http://127.0.0.1:3000/a'],
    ['http://localhost/a', 'http', 'http://localhost/a'],
    ['http://[::1]:80/a', 'http', 'http://[::1]/a'],
    ['ssh://git@host:2222/acme/widgets', 'ssh', 'ssh://git@host:2222/acme/widgets'],
    ['git@github.com:acme/widgets.git', 'ssh', 'git@github.com:acme/widgets.git'],
    ['host:path', 'ssh', 'host:path'],
    ['[::1]:path', 'ssh', '[::1]:path'],
    ['file:///srv/git/a%20b.git', 'file', '/srv/git/a b.git'],
    ['/srv/git/a:b.git', 'file', '/srv/git/a:b.git'],
  ])('%s is taken', (text, protocol, address) => {
    expect(parse(text)).toEqual({ protocol, address });
  });

  it.each([
    ['ext::sh -c touch% /tmp/x', 'unsupported_clone_url'],
    ['fd::17', 'unsupported_clone_url'],
    ['ext::ssh://x/y', 'unsupported_clone_url'],
    ['::x', 'unsupported_clone_url'],
    ['git://host/a', 'unsupported_clone_url'],
    ['ftp://host/a', 'unsupported_clone_url'],
    ['http+unix://x/a', 'unsupported_clone_url'],
    ['http://example.com/a', 'unsupported_clone_url'],
    ['http://127.0.0.1.example.com/a', 'unsupported_clone_url'],
    ['http://169.254.169.254/a', 'unsupported_clone_url'],
    ['-u./evil', 'invalid_clone_url'],
    ['--upload-pack=evil', 'invalid_clone_url'],
    ['-oProxyCommand=evil:path', 'invalid_clone_url'],
    ['ssh://-oProxyCommand=evil/path', 'invalid_clone_url'],
    ['ssh://-l@host/path', 'invalid_clone_url'],
    ['git@-oProxyCommand=evil:path', 'invalid_clone_url'],
    ['-x@host:path', 'invalid_clone_url'],
    ['host:-path', 'invalid_clone_url'],
    ['ssh://host/-path', 'invalid_clone_url'],
    ['ssh://host/%2dpath', 'invalid_clone_url'],
    ['relative/path', 'invalid_clone_url'],
    ['./path', 'invalid_clone_url'],
    ['~/path', 'invalid_clone_url'],
    ['file://host/path', 'invalid_clone_url'],
    ['file:///a%2Fb', 'invalid_clone_url'],
    ['file:///a%00b', 'invalid_clone_url'],
    ['https://host', 'invalid_clone_url'],
    ['https://host/a?token=x', 'invalid_clone_url'],
    ['https://host/a#b', 'invalid_clone_url'],
    ['https://host/a%0ahost=evil', 'invalid_clone_url'],
    ['https://host/%zz', 'invalid_clone_url'],
    ['https://host/a\n', 'invalid_clone_url'],
    ['ht\ntps://host/a', 'invalid_clone_url'],
    [' https://host/a', 'invalid_clone_url'],
    ['', 'invalid_clone_url'],
  ])('%j is refused', (text, code) => {
    expect(() => parse(text)).toThrow(expect.objectContaining({ status: 400, code }));
  });

  it.each([
    'https://me:hunter2@host/a',
    'https://hunter2@host/a',
    'https://:hunter2@host/a',
    'ssh://git:hunter2@host/a',
    'http://me:hunter2@example.com/a',
    'me:hunter2@host/a',
    'me:hunter2@host:a',
  ])('%s is refused without quoting the password', (text) => {
    try {
      parse(text);
    } catch (err) {
      expect(err).toMatchObject({ code: 'clone_url_with_credentials' });
      expect(JSON.stringify((err as ApiError).toBody())).not.toContain('hunter2');
      return;
    }
    expect.unreachable();
  });

  it('may be plain http to anywhere where the admin says so', () => {
    expect(parseCloneURL('http://example.com/a', { allowPlainHTTP: true })).toEqual({
      protocol: 'http',
      address: 'http://example.com/a',
    });
  });

  it('are never taken in a form that git could read as an option or a helper', () => {
    const text = fc.oneof(
      fc.string(),
      fc
        .tuple(fc.constantFrom('', '-', 'ext::', 'ssh://', 'file://', 'a@', 'https://'), fc.string())
        .map((parts) => parts.join('')),
    );
    fc.assert(
      fc.property(text, (candidate) => {
        let taken: CloneURL;
        try {
          taken = parse(candidate);
        } catch (err) {
          expect(err).toBeInstanceOf(ApiError);
          return;
        }
        expect(taken.address).not.toMatch(/^-|^[A-Za-z0-9]*::|\p{C}/u);
        if (taken.protocol === 'file') expect(taken.address.startsWith('/')).toBe(true);
        else expect(taken.address).not.toMatch(/:\/\/[^/]*:[^/]*@/);
      }),
      { numRuns: 1000 },
    );
  });
});
