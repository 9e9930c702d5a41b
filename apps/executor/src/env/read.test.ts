import { describe, expect, test } from 'vitest';
import { type Host, readSettings, SettingsError } from './index.ts';

const host: Host = {
  platform: 'linux',
  onKubernetes: false,
  isRoot: true,
  homeDirectory: '/root',
  stateHome: undefined,
  temporaryDirectory: '/tmp',
  readFile(path) {
    if (path === '/run/secret') return 'from-a-file\n';
    throw new Error('ENOENT: no such file');
  },
  isFile: (path) => path === '/etc/startup.sh',
};
const working = {
  EXECUTOR_FRONTEND_URL: 'https://kiln.example.com/base/',
  EXECUTOR_FRONTEND_PASSWORD: 'hunter2hunter2',
  EXECUTOR_QUEUE_NAME: 'jobs',
  EXECUTOR_USE_FIRECRACKER: 'false',
};

function mistakesOf(env: Record<string, string>): readonly string[] {
  try {
    readSettings({ ...working, ...env }, host);
  } catch (error) {
    if (error instanceof SettingsError) return error.mistakes;
    throw error;
  }
  return [];
}

test('the least environment gives the defaults of the reference', () => {
  const { settings, warnings } = readSettings(working, host);
  expect(settings).toMatchObject({
    sharedSecret: 'hunter2hunter2',
    queues: { mode: 'single', names: ['jobs'] },
    queuePollIntervalSeconds: 1,
    maximumNumJobs: 1,
    maximumRuntimePerJobSeconds: 1800,
    numTotalJobs: 0,
    maxActiveTimeSeconds: 0,
    cleanupIntervalSeconds: 60,
    jobNumCpus: 4,
    jobMemoryBytes: 12 * 2 ** 30,
    diskSpaceBytes: 20 * 2 ** 30,
    logLevel: 'warn',
    dataDirectory: '/var/lib/kiln-executor',
    temporaryDirectory: '/tmp',
  });
  expect(warnings).toEqual([]);
});

/** The mistakes of the reference's table 8.x and what Kiln adds, each with the message it must get. */
const mistakes: [env: Record<string, string>, message: string][] = [
  [
    { EXECUTOR_FRONTEND_URL: 'kiln.example.com' },
    'EXECUTOR_FRONTEND_URL: "kiln.example.com" has no protocol; write "https://kiln.example.com"',
  ],
  [
    { EXECUTOR_FRONTEND_URL: 'http://kiln.example.com' },
    'EXECUTOR_FRONTEND_URL: "http://kiln.example.com" would send the shared secret and all job secrets in clear; use https://, or set EXECUTOR_ALLOW_INSECURE=true in a network you trust',
  ],
  [
    { EXECUTOR_FRONTEND_URL: 'https://host.docker.internal:3080' },
    'EXECUTOR_FRONTEND_URL: steps cannot reach "host.docker.internal" unless EXECUTOR_DOCKER_ADD_HOST_GATEWAY=true is set',
  ],
  [
    { EXECUTOR_FRONTEND_URL: 'https://a:b@kiln' },
    'EXECUTOR_FRONTEND_URL: must not contain a user name or password',
  ],
  [
    { EXECUTOR_FRONTEND_URL: 'ftp://kiln' },
    'EXECUTOR_FRONTEND_URL: "ftp://" is not supported; write "https://..."',
  ],
  [
    { EXECUTOR_FRONTEND_PASSWORD: '' },
    'EXECUTOR_FRONTEND_PASSWORD: no value was supplied; it takes the shared secret, `executors.accessToken` of the instance',
  ],
  [
    { EXECUTOR_FRONTEND_PASSWORD: 'two words' },
    'EXECUTOR_FRONTEND_PASSWORD: holds spaces, line breaks or other characters that an HTTP header cannot carry',
  ],
  [
    { EXECUTOR_FRONTEND_PASSWORD_FILE: '/run/secret' },
    'EXECUTOR_FRONTEND_PASSWORD and EXECUTOR_FRONTEND_PASSWORD_FILE are both set; set one of them',
  ],
  [
    { EXECUTOR_FRONTEND_PASSWORD: '', EXECUTOR_FRONTEND_PASSWORD_FILE: '/nowhere' },
    'EXECUTOR_FRONTEND_PASSWORD_FILE: "/nowhere" cannot be read: ENOENT: no such file',
  ],
  [
    { EXECUTOR_QUEUE_NAME: 'batch' },
    'EXECUTOR_QUEUE_NAME: there is no queue "batch"; the queues are batches, codeintel, jobs',
  ],
  [
    { EXECUTOR_QUEUE_NAME: '', EXECUTOR_QUEUE_NAMES: 'jobs,nope' },
    'EXECUTOR_QUEUE_NAMES: there is no queue "nope"; the queues are batches, codeintel, jobs',
  ],
  [
    { EXECUTOR_QUEUE_NAMES: 'jobs' },
    'EXECUTOR_QUEUE_NAME and EXECUTOR_QUEUE_NAMES are both set; set one of them',
  ],
  [
    { EXECUTOR_QUEUE_NAME: '' },
    'neither EXECUTOR_QUEUE_NAME nor EXECUTOR_QUEUE_NAMES is set; set one of them, for example EXECUTOR_QUEUE_NAME=jobs',
  ],
  ...[
    'EXECUTOR_MAXIMUM_RUNTIME_PER_JOB',
    'EXECUTOR_MAX_ACTIVE_TIME',
    'EXECUTOR_QUEUE_POLL_INTERVAL',
    'EXECUTOR_CLEANUP_TASK_INTERVAL',
  ].map((name): [Record<string, string>, string] => [
    { [name]: '30' },
    `${name}: "30" is not a duration such as "30m", "1h15m" or "500ms" (a number needs a unit: "30s" or "30m")`,
  ]),
  [
    { EXECUTOR_QUEUE_POLL_INTERVAL: '0' },
    'EXECUTOR_QUEUE_POLL_INTERVAL: must be longer than 0, for example "1s"',
  ],
  [{ EXECUTOR_MAX_ACTIVE_TIME: '-1m' }, 'EXECUTOR_MAX_ACTIVE_TIME: -1m is negative'],
  [
    { EXECUTOR_JOB_MEMORY: 'a lot' },
    'EXECUTOR_JOB_MEMORY: "a lot" is not a size such as "12G", "512M" or "20GB"',
  ],
  [
    { EXECUTOR_FIRECRACKER_MEMORY: 'much' },
    'EXECUTOR_FIRECRACKER_MEMORY: "much" is not a size such as "12G", "512M" or "20GB"',
  ],
  [{ EXECUTOR_JOB_NUM_CPUS: '1.5' }, 'EXECUTOR_JOB_NUM_CPUS: "1.5" is not a whole number'],
  [{ EXECUTOR_JOB_NUM_CPUS: '-1' }, 'EXECUTOR_JOB_NUM_CPUS: -1 is too small; the least is 0'],
  [
    { EXECUTOR_FIRECRACKER_DISK_SPACE: '20 apples' },
    'EXECUTOR_FIRECRACKER_DISK_SPACE: "20 apples" is not a size such as "12G", "512M" or "20GB"',
  ],
  [
    { EXECUTOR_DOCKER_REGISTRY_MIRROR_URL: 'https://a.example,mirror:5000' },
    'EXECUTOR_DOCKER_REGISTRY_MIRROR_URL: "mirror:5000" has no protocol; write "https://mirror:5000"',
  ],
  [
    { EXECUTOR_DOCKER_REGISTRY_MIRROR_URL: 'http://mirror:99999' },
    'EXECUTOR_DOCKER_REGISTRY_MIRROR_URL: "http://mirror:99999" is not an address such as "https://kiln.example.com"',
  ],
  [
    { EXECUTOR_DOCKER_HOST_MOUNT_PATH: 'workspaces' },
    'EXECUTOR_DOCKER_HOST_MOUNT_PATH: "workspaces" is not an absolute path',
  ],
  [
    { EXECUTOR_VM_STARTUP_SCRIPT_PATH: '/etc/missing.sh' },
    'EXECUTOR_VM_STARTUP_SCRIPT_PATH: there is no file "/etc/missing.sh"',
  ],
  [
    { EXECUTOR_FIRECRACKER_IMAGE: 'not an image' },
    'EXECUTOR_FIRECRACKER_IMAGE: "not an image" is not an image such as "registry.example.com/name:tag"',
  ],
  [
    { NODE_EXPORTER_URL: 'http://localhost:9100/metrics' },
    'NODE_EXPORTER_URL: write it without "/metrics": "http://localhost:9100"',
  ],
  [
    { DOCKER_REGISTRY_NODE_EXPORTER_URL: 'localhost' },
    'DOCKER_REGISTRY_NODE_EXPORTER_URL: "localhost" has no protocol; write "https://localhost"',
  ],
  [
    { SRC_LOG_LEVEL: 'debug' },
    'SRC_LOG_LEVEL: "debug" is not one of dbug, info, warn, error, crit; write "dbug"',
  ],
  [
    { EXECUTOR_KEEP_WORKSPACES: 'yes' },
    'EXECUTOR_KEEP_WORKSPACES: "yes" is not a bool; write "true" or "false"',
  ],
  [
    { EXECUTOR_DOCKER_AUTH_CONFIG: 'user:pass' },
    'EXECUTOR_DOCKER_AUTH_CONFIG: is not JSON; it takes the content of a Docker config.json with "auths"',
  ],
  [
    { EXECUTOR_ALLOWED_CIDRS: '10.0.0.0/33' },
    'EXECUTOR_ALLOWED_CIDRS: "10.0.0.0/33" is not a range such as "10.1.0.0/16" or "fd00:1::/64"',
  ],
  [{ EXECUTOR_VMM: 'vmware' }, 'EXECUTOR_VMM: "vmware" is not one of auto, firecracker, qemu'],
  [
    { EXECUTOR_USE_FIRECRACKER: 'true', EXECUTOR_FIRECRACKER_IMAGE: '/no/such/root.squashfs' },
    'EXECUTOR_FIRECRACKER_IMAGE: there is no file "/no/such/root.squashfs"',
  ],
];

test.each(mistakes)('%o gets its own message', (env, message) => {
  expect(mistakesOf(env)).toEqual([message]);
});

describe('reading', () => {
  test('all mistakes come together, none twice', () => {
    const found = mistakesOf({
      EXECUTOR_FRONTEND_URL: 'x',
      EXECUTOR_QUEUE_NAME: 'y',
      EXECUTOR_MAXIMUM_NUM_JOBS: '0',
    });
    expect(found).toHaveLength(3);
    expect(new SettingsError(found).message).toMatch(/^there are 3 mistakes in the settings:\n {2}- /);
  });

  test('set but empty is unset, and the program suffix overrides', () => {
    const { settings, sources } = readSettings(
      {
        ...working,
        EXECUTOR_MAXIMUM_NUM_JOBS: '2',
        EXECUTOR_MAXIMUM_NUM_JOBS_executor: '3',
        EXECUTOR_JOB_NUM_CPUS: '',
      },
      host,
    );
    expect(settings.maximumNumJobs).toBe(3);
    expect(sources.maximumNumJobs).toBe('EXECUTOR_MAXIMUM_NUM_JOBS_executor');
    expect(settings.jobNumCpus).toBe(4);
  });

  test('older names count only when the new ones are unset', () => {
    const older = { ...working, EXECUTOR_FIRECRACKER_NUM_CPUS: '8' };
    expect(readSettings(older, host).settings.jobNumCpus).toBe(8);
    expect(readSettings({ ...older, EXECUTOR_JOB_NUM_CPUS: '2' }, host).settings.jobNumCpus).toBe(2);
  });

  test('the shared secret may be in a file', () => {
    const env = {
      ...working,
      EXECUTOR_FRONTEND_PASSWORD: '',
      EXECUTOR_FRONTEND_PASSWORD_FILE: '/run/secret',
    };
    expect(readSettings(env, host).settings.sharedSecret).toBe('from-a-file');
  });

  test('http is allowed to this machine, and elsewhere when asked for', () => {
    for (const url of ['http://localhost:3080', 'http://127.0.0.1', 'http://[::1]:3080'])
      expect(mistakesOf({ EXECUTOR_FRONTEND_URL: url })).toEqual([]);
    expect(mistakesOf({ EXECUTOR_FRONTEND_URL: 'http://kiln', EXECUTOR_ALLOW_INSECURE: 'true' })).toEqual([]);
  });

  test('several queues keep their order', () => {
    const env = { ...working, EXECUTOR_QUEUE_NAME: '', EXECUTOR_QUEUE_NAMES: 'codeintel,batches' };
    expect(readSettings(env, host).settings.queues).toEqual({
      mode: 'multi',
      names: ['codeintel', 'batches'],
    });
  });

  test('image references for the guest have no effect, and that is said', () => {
    const { warnings } = readSettings(
      {
        ...working,
        EXECUTOR_USE_FIRECRACKER: 'true',
        EXECUTOR_FIRECRACKER_IMAGE: 'registry.example.com/vm:1',
      },
      host,
    );
    expect(warnings).toEqual([
      'EXECUTOR_FIRECRACKER_IMAGE has no effect: Kiln builds its own guest; unset this',
    ]);
  });

  test('slips of the keyboard are warned about', () => {
    const { warnings } = readSettings(
      { ...working, EXECUTOR_MAXIMUM_NUM_JOB: '3', EXECUTOR_KUBERNETES_NAMESPACE: 'x' },
      host,
    );
    expect(warnings).toEqual([
      'EXECUTOR_KUBERNETES_NAMESPACE has no effect: this version has no Kubernetes runtime',
      'EXECUTOR_MAXIMUM_NUM_JOB is no setting; did you mean EXECUTOR_MAXIMUM_NUM_JOBS?',
    ]);
  });

  test.each([
    ['EXECUTOR_QUEUE_NAM', 'EXECUTOR_QUEUE_NAME'],
    ['EXECUTER_QUEUE_NAME', 'EXECUTOR_QUEUE_NAME'],
    ['EXECUTOR_QUEUES_NAMES', 'EXECUTOR_QUEUE_NAMES'],
    ['executor_job_memory', 'EXECUTOR_JOB_MEMORY'],
    ['KILN_FRONTEND_URL', 'EXECUTOR_FRONTEND_URL'],
    ['KILN_EXECUTOR_JOB_MEMORY', 'EXECUTOR_JOB_MEMORY'],
    ['NODE_EXPORTER_URLS', 'NODE_EXPORTER_URL'],
    ['SRC_LOG_LEVL', 'SRC_LOG_LEVEL'],
    ['EXECUTOR_MAXIMUM_NUM_JOB_executor', 'EXECUTOR_MAXIMUM_NUM_JOBS'],
  ])('%s was meant to be %s', (name, meant) => {
    expect(readSettings({ ...working, [name]: '1' }, host).warnings).toEqual([
      `${name} is no setting; did you mean ${meant}?`,
    ]);
  });

  test('variables of other programs are left alone', () => {
    const others = {
      KILN_DATA_DIR: '/d',
      KILN_LISTEN: '127.0.0.1:0',
      KILN_URL: 'u',
      DOCKER_HOST: 'unix:///s',
      TMPDIRS: 'x',
    };
    expect(readSettings({ ...working, ...others }, host).warnings).toEqual([]);
  });

  test('a slip is told beside the mistakes that it makes', () => {
    const { EXECUTOR_QUEUE_NAME: queue, ...others } = working;
    const read = () => readSettings({ ...others, EXECUTOR_QUEUE_NAM: queue }, host);
    expect(read).toThrow(
      /EXECUTOR_QUEUE_NAME.*\n\(EXECUTOR_QUEUE_NAM is no setting; did you mean EXECUTOR_QUEUE_NAME\?\)$/,
    );
  });

  test('no mistake quotes a secret', () => {
    const secret = 'c2VjcmV0OnNlY3JldA';
    const found = mistakesOf({
      EXECUTOR_FRONTEND_PASSWORD: `${secret} x`,
      EXECUTOR_DOCKER_AUTH_CONFIG: `{"auths":{"r":{"auth":"${secret}"}}}`,
    });
    expect(found).toHaveLength(2);
    expect(found.join()).not.toContain(secret);
  });
});
