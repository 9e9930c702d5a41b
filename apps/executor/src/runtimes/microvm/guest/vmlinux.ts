import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFile, rename, writeFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { gunzip, zstdDecompress } from 'node:zlib';
import { GuestBuildError } from './guest-build-error.ts';
import { lz4Magic, unpackLz4 } from './lz4.ts';

/** More than any kernel. */
const maxKernelBytes = 512 * 1024 ** 2;
const unpackSeconds = 120;

const elfMagic = Buffer.from('\x7fELF', 'latin1');
/** What a packed kernel may begin with, and what unpacks it. */
const packings = [
  { magic: Buffer.from([0x1f, 0x8b]), unpack: (bytes: Buffer) => unpackGzip(bytes) },
  { magic: Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]), unpack: (bytes: Buffer) => unpackXz(bytes) },
  { magic: Buffer.from([0x28, 0xb5, 0x2f, 0xfd]), unpack: (bytes: Buffer) => unpackZstd(bytes) },
  {
    magic: lz4Magic,
    unpack: async (bytes: Buffer, length: number) => unpackLz4(bytes.subarray(0, -4), length),
  },
] as const;

/**
 * Writes the kernel proper (an ELF file), which Firecracker boots, out of one as distributions pack it.
 * @param kernelPath of a bzImage, or of an ELF file
 * @param path of the result, replaced at once
 * @throws GuestBuildError when it is neither
 */
export async function writeVmlinux(kernelPath: string, path: string): Promise<void> {
  const vmlinux = await vmlinuxOf(await readFile(kernelPath), kernelPath);
  // Each VMM runs as a user of its own and reads it.
  const file = `${path}.${randomBytes(6).toString('hex')}`;
  await writeFile(file, vmlinux, { mode: 0o644 });
  await rename(file, path);
}

/** @param name for messages @throws GuestBuildError */
export async function vmlinuxOf(kernel: Buffer, name: string): Promise<Buffer> {
  if (startsWith(kernel, elfMagic)) return kernel;
  const { payload, unpackedBytes } = payloadOf(kernel, name);
  const packing = packings.find(({ magic }) => startsWith(payload, magic));
  if (packing === undefined)
    throw new GuestBuildError(
      `the kernel ${name} is packed in a way that is not known (it begins with ${payload.subarray(0, 6).toString('hex')})`,
    );
  const vmlinux = await packing.unpack(payload, unpackedBytes).catch((error: unknown) => {
    throw new GuestBuildError(
      `the kernel ${name} cannot be unpacked: ${error instanceof Error ? error.message : String(error)}`,
    );
  });
  if (vmlinux.length !== unpackedBytes || !startsWith(vmlinux, elfMagic))
    throw new GuestBuildError(
      `what was unpacked from the kernel ${name} is no ELF file of ${unpackedBytes} bytes`,
    );
  return vmlinux;
}

/**
 * The header of a bzImage, as the boot protocol of Linux on x86 has it since 2.08: the packed kernel lies behind the sectors of the
 * set-up code, at an offset and with a length that the header tells. Its last four bytes are the length of what is in it.
 */
function payloadOf(kernel: Buffer, name: string): { payload: Buffer; unpackedBytes: number } {
  const at = {
    setupSectors: 0x1f1,
    magic: 0x202,
    version: 0x206,
    payloadOffset: 0x248,
    payloadLength: 0x24c,
  };
  if (kernel.length < 0x250 || kernel.toString('latin1', at.magic, at.magic + 4) !== 'HdrS')
    throw new GuestBuildError(`${name} is no kernel for x86-64: neither a bzImage nor an ELF file`);
  if (kernel.readUInt16LE(at.version) < 0x208)
    throw new GuestBuildError(`the kernel ${name} does not tell where its packed part is`);
  // Of old, 0 means 4.
  const setupSectors = kernel.readUInt8(at.setupSectors) || 4;
  const start = (setupSectors + 1) * 512 + kernel.readUInt32LE(at.payloadOffset);
  const end = start + kernel.readUInt32LE(at.payloadLength);
  if (end > kernel.length || end - start < 16) throw new GuestBuildError(`the kernel ${name} is cut off`);
  const unpackedBytes = kernel.readUInt32LE(end - 4);
  if (unpackedBytes > maxKernelBytes)
    throw new GuestBuildError(`the kernel ${name} is larger than ${maxKernelBytes} bytes`);
  return { payload: kernel.subarray(start, end), unpackedBytes };
}

function unpackGzip(payload: Buffer): Promise<Buffer> {
  // Its own trailer ends with the length.
  return promisify(gunzip)(payload, { maxOutputLength: maxKernelBytes });
}

function unpackZstd(payload: Buffer): Promise<Buffer> {
  return promisify(zstdDecompress)(payload.subarray(0, -4), { maxOutputLength: maxKernelBytes });
}

async function unpackXz(payload: Buffer): Promise<Buffer> {
  const child = spawn('xz', ['--decompress', '--stdout'], {
    stdio: ['pipe', 'pipe', 'ignore'],
    timeout: unpackSeconds * 1000,
    killSignal: 'SIGKILL',
  });
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const pieces: Buffer[] = [];
  let length = 0;
  child.stdout.on('data', (bytes: Buffer) => {
    pieces.push(bytes);
    length += bytes.length;
    if (length > maxKernelBytes) child.kill('SIGKILL');
  });
  // A program that is missing or ends early breaks the pipe: its exit tells more.
  child.stdin.on('error', () => undefined);
  child.stdin.end(payload.subarray(0, -4));
  child.on('error', () =>
    reject(new GuestBuildError('the program xz is missing; on Debian and its kin: apt-get install xz-utils')),
  );
  child.on('close', (code) =>
    code === 0
      ? resolve(Buffer.concat(pieces))
      : reject(new GuestBuildError('xz could not unpack the kernel')),
  );
  return promise;
}

function startsWith(bytes: Buffer, magic: Buffer): boolean {
  return bytes.subarray(0, magic.length).equals(magic);
}
