import type { GuestChannel } from '../channel/index.ts';
import { guestScript } from '../guest-run.ts';
import type { StepPlace } from './bundle.ts';
import { type GuestUsage, parseGuestUsage, usageScript } from './guest-usage.ts';

export interface Settlement {
  /** Rejects with a GuestError when the guest does not tell. */
  usage: Promise<GuestUsage>;
  /** What the step left takes no space any more. Never rejects: what cannot be removed goes with the VM. */
  removed: Promise<void>;
}

/** Asks what a step that has ended has used, and removes what it left, which takes as long as there are files. */
export function settle(channel: GuestChannel, place: StepPlace): Settlement {
  const usage = Promise.withResolvers<GuestUsage>();
  usage.promise.catch(() => undefined);
  const removed = guestScript(channel, settleScript, [place.cgroup, place.layer, place.bundle, place.log], {
    hear(output) {
      if (output.endsWith(usageEnd)) usage.resolve(parseGuestUsage(output));
    },
  }).then(
    (output) => usage.resolve(parseGuestUsage(output)),
    (error) => usage.reject(error),
  );
  return { usage: usage.promise, removed };
}

const usageEnd = 'that is all\n';

/** `$1` control group, `$2` layer, `$3` bundle, `$4` log */
const settleScript = `
${usageScript}
echo '${usageEnd.trimEnd()}'
rmdir "$1"/* "$1" 2>/dev/null || true
umount "$2/root"
rm -rf "$2" "$3" "$4"
`;
