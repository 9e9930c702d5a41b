/** The registry of an image reference: the part before the first `/` if it could be a host, else Docker Hub. */
export function registryOf(image: string): string {
  const slash = image.indexOf('/');
  const first = slash < 0 ? '' : image.slice(0, slash);
  if (first === '' || (!/[.:A-Z]/.test(first) && first !== 'localhost')) return hub;
  return first === 'index.docker.io' ? hub : first;
}

const hub = 'docker.io';

/** The names under which `config.json` and credential helpers keep a registry, the usual one first. */
export function registryKeys(registry: string): string[] {
  if (registry === hub) return ['https://index.docker.io/v1/', 'index.docker.io', hub];
  return [registry, `https://${registry}`];
}
