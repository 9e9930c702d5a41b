import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { GuestBuildError } from './guest-build-error.ts';
import { type ProgramOptions, runProgram } from './programs.ts';

/** A downloaded package. */
export interface DebianPackage {
  name: string;
  version: string;
  sha256: string;
  path: string;
}

/** The package archive of this machine, looked at with lists of our own: those of the system stay as they are. */
export interface PackageArchive {
  /** @returns names of the packages that one depends on directly */
  dependencies(name: string): Promise<string[]>;
  /** Downloads these alone. */
  download(names: readonly string[]): Promise<DebianPackage[]>;
  /** Downloads these and everything they need on an empty system. */
  downloadClosure(names: readonly string[]): Promise<DebianPackage[]>;
}

const keyring = '/usr/share/keyrings/debian-archive-keyring.gpg';

/** @param directory for lists and packages; removed by the caller */
export async function openArchive(directory: string, signal: AbortSignal): Promise<PackageArchive> {
  const options: ProgramOptions = { signal, debianPackage: 'apt' };
  for (const folder of ['state/lists/partial', 'cache/archives/partial', 'alone'])
    await mkdir(path.join(directory, folder), { recursive: true });
  await writeFile(path.join(directory, 'status'), '');
  await writeFile(path.join(directory, 'sources.list'), await debianSources(options));
  const settings = [
    `Dir::State=${directory}/state`,
    `Dir::State::status=${directory}/status`,
    `Dir::Cache=${directory}/cache`,
    `Dir::Etc::SourceList=${directory}/sources.list`,
    'Dir::Etc::SourceParts=-',
    'APT::Sandbox::User=root',
    'APT::Architecture=amd64',
    'APT::Architectures=amd64',
    'APT::Install-Recommends=false',
    'Acquire::Languages=none',
    'Acquire::Retries=3',
    'APT::Get::Assume-Yes=true',
    // Hooks of the system (indexes for search programs, cleaning up) have no business here.
    'APT::Update::Post-Invoke-Success::=true',
  ].flatMap((setting) => ['-o', setting]);
  const apt = (args: string[], cwd?: string) =>
    runProgram('apt-get', [...settings, ...args], { ...options, ...(cwd === undefined ? {} : { cwd }) });

  await apt(['update', '--error-on=any']);
  return {
    async dependencies(name) {
      const printed = await runProgram('apt-cache', [...settings, 'depends', '--important', name], options);
      return [...printed.matchAll(/^ *\|?Depends: ([^<\s]+)$/gm)].flatMap(([, one]) => one ?? []);
    },
    async download(names) {
      const alone = path.join(directory, 'alone');
      await apt(['download', ...names], alone);
      return packagesIn(alone, options);
    },
    async downloadClosure(names) {
      await apt(['install', '--download-only', ...names]);
      return packagesIn(path.join(directory, 'cache/archives'), options);
    },
  };
}

/** The sources of this machine that are Debian's own, as lines of a sources.list. */
async function debianSources(options: ProgramOptions): Promise<string> {
  const format = '$(REPO_URI) $(RELEASE) $(COMPONENT)';
  const listed = await runProgram(
    'apt-get',
    ['indextargets', '--format', format, 'Created-By: Packages'],
    options,
  );
  const lines = [...new Set(listed.split('\n'))].filter((line) => /\/debian(-security)?\/? /.test(line));
  if (!lines.some((line) => / main$/.test(line)))
    throw new GuestBuildError(
      'the guest is made from Debian packages, and apt on this machine knows no Debian archive (an address that ends in /debian). ' +
        'Run "executor install" on a Debian machine and copy the directory "guest" of its EXECUTOR_DATA_DIR here',
    );
  const signedBy = existsSync(keyring) ? `[signed-by=${keyring}] ` : '';
  return lines.map((line) => `deb ${signedBy}${line}\n`).join('');
}

async function packagesIn(directory: string, options: ProgramOptions): Promise<DebianPackage[]> {
  const files = (await readdir(directory)).filter((file) => file.endsWith('.deb')).sort();
  return Promise.all(
    files.map(async (file) => {
      const full = path.join(directory, file);
      const fields = await runProgram('dpkg-deb', ['-f', full, 'Package', 'Version'], options);
      const field = (name: string) => new RegExp(`^${name}: (.+)$`, 'm').exec(fields)?.[1] ?? '';
      return {
        name: field('Package'),
        version: field('Version'),
        sha256: createHash('sha256')
          .update(await readFile(full))
          .digest('hex'),
        path: full,
      };
    }),
  );
}
