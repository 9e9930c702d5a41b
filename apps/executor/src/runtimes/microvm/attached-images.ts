import { join } from 'node:path';
import type { DockerAuthConfig } from '@kiln/protocol';
import type { GuestChannel } from './channel/index.ts';
import { shareFile } from './drives/index.ts';
import { guestScript } from './guest-run.ts';
import type { HeldImage, ImageStore } from './images/index.ts';
import { guestPaths, type ImageFacts } from './steps/bundle.ts';
import { imageUser } from './steps/image-user.ts';
import type { Drive, Vm } from './vmm/index.ts';

/** An image that the steps of one VM can be run in. */
export type MountedImage = ImageFacts & { directory: string };

/** The root image of the guest, which has a shell. */
export const guestsOwn: MountedImage = {
  directory: '/',
  env: [],
  user: { uid: 0, gid: 0, additionalGids: [] },
};

interface Attached {
  drive: Drive & { file: string };
  config: HeldImage['config'];
  mounted?: Promise<MountedImage>;
}

export interface AttachedImages {
  /** Of the images got so far, whose files are in the VM's directory; those from before the boot are given to the VM with its other drives. */
  drives(): Drive[];
  /** Tells that the guest has mounted these by itself. */
  mounted(serials: readonly string[]): void;
  /**
   * Gets an image into the VM's directory, with the job's own credentials.
   * @throws SandboxError for people
   */
  fetch(reference: string, signal: AbortSignal): Promise<void>;
  /** Fetches it unless that is done, plugs it in, and mounts it. @throws SandboxError */
  mount(reference: string, vm: Vm, channel: GuestChannel, signal: AbortSignal): Promise<MountedImage>;
}

const mostFileBytes = 1024 * 1024;

/** The images of one VM, each one drive, however many steps and references use it. */
export function attachedImages(
  directory: string,
  store: ImageStore,
  auth: DockerAuthConfig,
  notice: (line: string) => void,
): AttachedImages {
  const byReference = new Map<string, Attached>();
  const byImage = new Map<string, Promise<Attached>>();
  /** In the VM's directory. */
  const shared: Attached[] = [];
  const plugged = new Set<Drive>();
  /** Serials of drives that the guest has mounted by itself. */
  const byGuest = new Set<string>();
  let isBooted = false;
  let count = 0;

  async function fetch(reference: string, signal: AbortSignal): Promise<Attached> {
    const known = byReference.get(reference);
    if (known) return known;
    // Our link keeps the image from being removed; the hold is only needed until it is there.
    await using image = await store.resolve(reference, auth, notice, signal);
    const sharing = byImage.get(image.imageId) ?? share(image);
    byImage.set(image.imageId, sharing);
    const attached = await sharing;
    byReference.set(reference, attached);
    return attached;
  }

  async function share({ imageId, drivePath, config }: HeldImage): Promise<Attached> {
    // The names of those from before the boot may have places in the machine that were never taken.
    const serial = `${isBooted ? 'late' : 'image'}${count}`;
    count += 1;
    const drive = { serial, file: `${serial}.squashfs`, readOnly: true };
    try {
      await shareFile(drivePath, join(directory, drive.file));
    } catch (error) {
      byImage.delete(imageId);
      throw error;
    }
    const attached = { drive, config };
    shared.push(attached);
    return attached;
  }

  async function mount(
    reference: string,
    attached: Attached,
    vm: Vm,
    channel: GuestChannel,
  ): Promise<MountedImage> {
    const path = `${guestPaths.images}/${attached.drive.serial}`;
    if (!plugged.has(attached.drive)) {
      await vm.attachDrive(attached.drive);
      plugged.add(attached.drive);
    }
    const { serial } = attached.drive;
    if (!byGuest.has(serial))
      await guestScript(channel, mountScript, [serial, path, vm.guestDevice(serial) ?? '']);
    const text = async (name: string): Promise<string> => {
      const bytes = await channel.readFile(`${path}/etc/${name}`, mostFileBytes).catch(() => undefined);
      return Buffer.from(bytes ?? []).toString('utf8');
    };
    const { user, env } = attached.config;
    const files =
      user === '' ? { passwd: '', group: '' } : { passwd: await text('passwd'), group: await text('group') };
    return { directory: path, env, user: imageUser(reference, user, files) };
  }

  return {
    drives() {
      isBooted = true;
      const drives = shared.map(({ drive }) => drive);
      for (const drive of drives) plugged.add(drive);
      return drives;
    },
    mounted(serials) {
      for (const serial of serials) byGuest.add(serial);
    },
    async fetch(reference, signal) {
      await fetch(reference, signal);
    },
    async mount(reference, vm, channel, signal) {
      const attached = await fetch(reference, signal);
      attached.mounted ??= mount(reference, attached, vm, channel);
      try {
        return await attached.mounted;
      } catch (error) {
        delete attached.mounted;
        throw error;
      }
    },
  };
}

/**
 * `$1` serial, `$2` mount point, `$3` name of the device where it has no serial: one that was there before, of one sector. A drive
 * that was just plugged in takes the guest a moment to find, and one that was exchanged a moment to see its new size.
 */
const mountScript = `
mkdir -p "$2"
is_there() {
  if [ -z "$3" ]; then found=$(grep -lx "$1" /sys/block/vd*/serial 2>/dev/null)
  else found=/sys/block/$3/serial; [ "$(cat "/sys/block/$3/size" 2>/dev/null || echo 0)" -gt 1 ]; fi
}
tries=0
until is_there "$1" "$2" "$3"; do
  tries=$((tries + 1))
  [ $tries -lt 600 ] || { echo "no drive $1" >&2; exit 1; }
  sleep 0.05
done
device=\${found%/serial}
mountpoint -q "$2" || mount -t squashfs -o ro,nodev,nosuid "/dev/\${device##*/}" "$2"
`;
