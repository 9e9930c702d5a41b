export interface ImageReference {
  /** As the daemon names it: `docker.io`, `ghcr.io`, `localhost:5000`. */
  registry: string;
  /** With the registry unless it is Docker Hub's, as in `RepoDigests`: `alpine`, `acme/tool`, `ghcr.io/acme/tool`. */
  familiarName: string;
  /** Within the registry, as its API names it: `library/alpine`, `acme/tool`. */
  repository: string;
  /** `latest` when the reference names neither tag nor digest. */
  tag?: string;
  /** `sha256:...` */
  digest?: string;
}

const component = '[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*';
const domain = '(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\\[[a-fA-F0-9:]+\\])(?::[0-9]+)?';
const pattern = new RegExp(
  `^(?:(${domain})/)?(${component}(?:/${component})*)(?::([A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?(?:@(sha256:[0-9a-f]{64}))?$`,
);

/**
 * Reads an image reference as Docker does: the part before the first `/` is a registry only if it could be a host.
 * @throws RangeError naming the reference
 */
export function parseImageReference(text: string): ImageReference {
  const first = text.slice(0, Math.max(0, text.indexOf('/')));
  const hasRegistry = /[.:A-Z]/.test(first) || first === 'localhost';
  const match = pattern.exec(hasRegistry ? text : `docker.io/${text}`);
  const [, host, path, tag, digest] = match ?? [];
  if (host === undefined || path === undefined)
    throw new RangeError(
      `${JSON.stringify(text)} is not an image reference such as "alpine:3" or "ghcr.io/acme/tool:1.2"`,
    );
  const isHub = host === 'docker.io' || host === 'index.docker.io';
  const familiarName = isHub ? path.replace(/^library\//, '') : `${host}/${path}`;
  return {
    registry: isHub ? 'docker.io' : host,
    familiarName,
    repository: isHub && !path.includes('/') ? `library/${path}` : path,
    ...(digest === undefined ? { tag: tag ?? 'latest' } : tag === undefined ? {} : { tag }),
    ...(digest === undefined ? {} : { digest }),
  };
}
