import { expect, test } from 'vitest';
import { type ContainerSurroundings, containerSpec, equivalentCommand } from './container-spec.ts';
import { sandboxNames } from './names.ts';

const around: ContainerSurroundings = {
  names: sandboxNames('host-1', 7, 2),
  workspaceSource: '/w/7',
  network: 'none',
  nameServers: [],
  extraHosts: [],
  limits: { numCPUs: 1.5, memoryBytes: 512, diskBytes: 0 },
  maxProcesses: 10,
  cgroupParent: undefined,
};
const step = {
  name: '0',
  image: 'alpine:3',
  scriptPath: '.x/s.sh',
  dir: 'a/b',
  env: ['A=1\n2', 'TOKEN=hunter2'],
};

test('asks for a container without privileges, within its limits', () => {
  const spec = containerSpec(step, 'sha256:1', around);
  expect(spec).toMatchObject({
    Image: 'sha256:1',
    Entrypoint: ['/bin/sh'],
    Cmd: ['/data/.x/s.sh'],
    WorkingDir: '/data/a/b',
    Env: step.env,
    HostConfig: {
      CapDrop: ['ALL'],
      SecurityOpt: ['no-new-privileges'],
      Privileged: false,
      Memory: 512,
      MemorySwap: 512,
      NanoCpus: 1_500_000_000,
      PidsLimit: 10,
      NetworkMode: 'none',
      LogConfig: { Type: 'none' },
    },
  });
  expect(spec.HostConfig.CapAdd).not.toContain('NET_RAW');
  expect(spec.HostConfig.Mounts.map((mount) => mount.Source)).toEqual(['/w/7']);
});

test('leaves limits of 0 out', () => {
  const spec = containerSpec(step, 'i', { ...around, limits: { numCPUs: 0, memoryBytes: 0, diskBytes: 0 } });
  expect(Object.keys(spec.HostConfig)).not.toEqual(expect.arrayContaining(['Memory']));
  expect(Object.keys(spec.HostConfig)).not.toEqual(expect.arrayContaining(['NanoCpus']));
});

test('shows the command without values of variables', () => {
  const command = equivalentCommand(step, 'alpine:3', around);
  expect(command.slice(0, 3)).toEqual(['docker', 'run', '--rm']);
  expect(command.join(' ')).toContain('-e A -e TOKEN --entrypoint=/bin/sh alpine:3 /data/.x/s.sh');
  expect(command.join(' ')).not.toContain('hunter2');
});

test.each(['..', 'a/../..', 'x\0y', '../data2'])('refuses the directory %j', (dir) => {
  expect(() => containerSpec({ ...step, dir }, 'i', around)).toThrow('outside the workspace');
});

test('names a variable that is too long, not its value', () => {
  const env = [`LONG=${'v'.repeat(131_072)}`];
  expect(() => containerSpec({ ...step, env }, 'i', around)).toThrow(
    /LONG holds more than the 128 KiB[^v]*file/,
  );
});

test('refuses variables that are too long together', () => {
  const env = Array.from({ length: 21 }, (_, index) => `V${index}=${'v'.repeat(100_000)}`);
  expect(() => containerSpec({ ...step, env }, 'i', around)).toThrow(/too long together \(.*files$/);
  expect(containerSpec({ ...step, env: env.slice(1) }, 'i', around).Env).toHaveLength(20);
});
