import { fileURLToPath } from 'node:url';
import { ApiError } from '../../api-error.ts';

/** Where a repository is fetched from, and the one transport that git may use for it. */
export interface CloneURL {
  protocol: 'https' | 'http' | 'ssh' | 'file';
  /** What git is given. Never holds credentials. For `file` an absolute path. */
  address: string;
}

export interface CloneURLRules {
  /** Plain http reaches other machines too, not only this one. Whoever is on the way can then change the code. */
  allowPlainHTTP: boolean;
}

/**
 * Reads the clone URL of a repository: an https, ssh or file URL, `user@host:path`, or an absolute local path; http
 * only to this machine. Everything else that git would follow (`ext::`, `fd::`, `git:`, options) is refused, and so
 * are credentials: clone URLs are shown to every user and stand in process lists.
 * @throws ApiError 400 `invalid_clone_url`, `unsupported_clone_url` or `clone_url_with_credentials`
 */
export function parseCloneURL(text: string, rules: CloneURLRules): CloneURL {
  // Before anything else: no message of this function may quote the URL from here on if it holds a password.
  if (/[\p{C}]/u.test(text) || text !== text.trim()) {
    throw invalid('The clone URL has a control character, or a space at an end');
  }
  if (text.startsWith('/')) return { protocol: 'file', address: text };
  const scheme = /^([A-Za-z][A-Za-z0-9+.-]*):\/\//.exec(text)?.[1]?.toLowerCase();
  switch (scheme) {
    case 'https':
    case 'http':
      return parseWebURL(text, scheme, rules);
    case 'ssh':
      return parseSSHURL(text);
    case 'file':
      return parseFileURL(text);
    case undefined:
      return parseShortSSH(text);
    default:
      throw unsupported(`Clone URLs of the kind "${scheme}:" are not supported`);
  }
}

const supportedHint =
  'Use https://host/path, ssh://user@host/path, user@host:path, file:///path or an absolute path on the machine of the instance.';

function parseWebURL(text: string, protocol: 'https' | 'http', rules: CloneURLRules): CloneURL {
  const url = parseURL(text);
  if (url.username !== '' || url.password !== '') throw credentials(url.host);
  // A query is where access tokens stand in some addresses; git hosts need none.
  if (url.search !== '' || url.hash !== '') {
    throw invalid(
      'The clone URL has a query ("?") or a fragment ("#")',
      'Leave it out; git hosts need none.',
    );
  }
  if (url.pathname === '/') throw invalid(`The clone URL names no repository on ${url.host}`);
  checkDecoded(url.pathname);
  if (protocol === 'http' && !rules.allowPlainHTTP && !isLoopback(url.hostname)) {
    throw unsupported(
      `Plain http to ${url.host} is refused: whoever is on the way could change the code`,
      'Use https. (http is for git servers on the machine of the instance only.)',
    );
  }
  return { protocol, address: url.href };
}

const sshUser = /^[A-Za-z0-9_][A-Za-z0-9_.-]*$/;
const sshHost = /^(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])$/;

function parseSSHURL(text: string): CloneURL {
  const url = parseURL(text);
  if (url.password !== '') throw credentials(url.host);
  if (url.search !== '' || url.hash !== '')
    throw invalid('The clone URL has a query ("?") or a fragment ("#")');
  if (url.username !== '' && !sshUser.test(url.username)) throw invalid('The clone URL has an odd user name');
  if (!sshHost.test(url.hostname)) throw invalid('The clone URL has an odd host name');
  const path = checkDecoded(url.pathname);
  if (path === '' || path === '/') throw invalid(`The clone URL names no repository on ${url.host}`);
  if (path.startsWith('/-')) throw invalid('The path of the clone URL begins with "-"');
  return { protocol: 'ssh', address: url.href };
}

/** `[user@]host:path`, git's short form of ssh. `ext::...` and other helpers look alike and are not. */
function parseShortSSH(text: string): CloneURL {
  if (/^[A-Za-z0-9+.-]*::/.test(text)) {
    throw unsupported(`Clone URLs of the kind "${text.slice(0, text.indexOf(':'))}::" are not supported`);
  }
  const match = /^(?:([^@/:]+)@)?(\[[^\]/@]+\]|[^:/@[\]]+):(.+)$/.exec(text);
  const [, user, host, path] = match ?? [];
  if (host === undefined || path === undefined) {
    if (/^[^/]*:[^/]*@/.test(text)) throw credentials('the host');
    throw invalid('The clone URL is neither a URL nor an absolute path');
  }
  if (user !== undefined && !sshUser.test(user)) throw invalid('The clone URL has an odd user name');
  if (!sshHost.test(host)) throw invalid('The clone URL has an odd host name');
  if (path.startsWith('-')) throw invalid('The path of the clone URL begins with "-"');
  // `host:password@other:path` is a mistyped password, not a path.
  if (path.includes('@')) throw credentials('the host');
  return { protocol: 'ssh', address: text };
}

function parseFileURL(text: string): CloneURL {
  const url = parseURL(text);
  if (url.host !== '') throw invalid('A file URL with a host; write file:///path with three slashes');
  if (url.search !== '' || url.hash !== '') {
    throw invalid('The clone URL has a query ("?") or a fragment ("#")', 'Escape them as %3F and %23.');
  }
  let path: string;
  try {
    path = fileURLToPath(url);
  } catch {
    throw invalid('The file URL is malformed');
  }
  if (/[\p{C}]/u.test(path)) throw invalid('The clone URL has an escaped control character');
  return { protocol: 'file', address: path };
}

function parseURL(text: string): URL {
  const url = URL.parse(text);
  if (url === null) throw invalid('The clone URL is malformed');
  return url;
}

/** The path unescaped; a line break in it has been a way to speak to credential helpers and ssh. */
function checkDecoded(pathname: string): string {
  let decoded: string;
  try {
    decoded = decodeURIComponent(pathname);
  } catch {
    throw invalid('The clone URL has a malformed "%" escape');
  }
  if (/[\p{C}]/u.test(decoded)) throw invalid('The clone URL has an escaped control character');
  return decoded;
}

function isLoopback(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(hostname);
}

function invalid(message: string, hint = supportedHint): ApiError {
  return new ApiError(400, 'invalid_clone_url', message, hint);
}

function unsupported(message: string, hint = supportedHint): ApiError {
  return new ApiError(400, 'unsupported_clone_url', message, hint);
}

function credentials(host: string): ApiError {
  return new ApiError(
    400,
    'clone_url_with_credentials',
    `The clone URL holds a user name or password for ${host}; it was not stored`,
    'Leave out the part before "@". Clone URLs are visible to every user of this instance. Private repositories are reached by ssh with the keys of the account that the instance runs as.',
  );
}
