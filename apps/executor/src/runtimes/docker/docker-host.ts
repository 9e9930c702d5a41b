/** Where Docker listens unless `DOCKER_HOST` says otherwise. */
export const defaultDockerSocket = '/var/run/docker.sock';

/**
 * Reads `DOCKER_HOST`. Only Unix sockets are accepted: workspaces are bind-mounted and firewall rules are set on this
 * machine, neither of which works with a daemon elsewhere.
 * @returns path of the socket
 * @throws RangeError with the accepted form
 */
export function dockerSocketPath(dockerHost: string | undefined): string {
  if (dockerHost === undefined || dockerHost === '') return defaultDockerSocket;
  const path = dockerHost.startsWith('unix://') ? dockerHost.slice('unix://'.length) : '';
  if (path.startsWith('/')) return path;
  throw new RangeError(
    `DOCKER_HOST must be of the form unix:///path/to/docker.sock, because steps share directories and firewall rules with this machine; it is ${JSON.stringify(withoutCredentials(dockerHost))}`,
  );
}

function withoutCredentials(address: string): string {
  return address.replace(/\/\/[^/@]*@/, '//');
}
