import { formatByteSize } from '@kiln/protocol';

/** At most one progress line per so many seconds. */
const noticeMilliseconds = 5000;

/** Counts what has been received and says it now and then. */
export function downloadProgress(
  what: string,
  totalBytes: number,
  notice: (line: string) => void,
): (bytes: number) => void {
  let received = 0;
  let last = performance.now();
  return (bytes) => {
    received += bytes;
    if (performance.now() - last < noticeMilliseconds) return;
    last = performance.now();
    notice(`pulling image ${what}: ${formatByteSize(received)} of ${formatByteSize(totalBytes)}`);
  };
}
