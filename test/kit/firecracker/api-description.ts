import type { Shape } from './shape.ts';

/**
 * What Firecracker's published API takes, as far as executors use it: each route with its body and when it may be called. Written
 * after the description of version 1.17; what is not here is refused, as is every key that a body does not have.
 */
export interface Route {
  method: 'GET' | 'PUT' | 'PATCH';
  path: RegExp;
  when: 'always' | 'before the start' | 'after the start';
  body?: Shape;
}

const text: Shape = { is: 'text' };
const flag: Shape = { is: 'flag' };
const count: Shape = { is: 'count' };
const bucket = object({ size: count, refill_time: count }, { one_time_burst: count });
const limiter = object({}, { bandwidth: bucket, ops: bucket });

export const routes: readonly Route[] = [
  { method: 'GET', path: /^\/$/, when: 'always' },
  put(
    /^\/machine-config$/,
    {
      vcpu_count: { is: 'count', least: 1, most: 32, isOneOrEven: true },
      mem_size_mib: { is: 'count', least: 1 },
    },
    { smt: flag, track_dirty_pages: flag, huge_pages: { is: 'text', oneOf: ['None', 'Transparent', '2M'] } },
  ),
  put(
    /^\/boot-source$/,
    { kernel_image_path: text },
    { initrd_path: text, boot_args: { is: 'text', longest: 2048 } },
  ),
  put(
    /^\/drives\/(\w+)$/,
    // The last two are needed of a drive that is a file.
    { drive_id: text, is_root_device: flag, is_read_only: flag, path_on_host: text },
    {
      cache_type: { is: 'text', oneOf: ['Unsafe', 'Writeback'] },
      io_engine: { is: 'text', oneOf: ['Sync', 'Async'] },
      partuuid: text,
      rate_limiter: limiter,
    },
  ),
  {
    method: 'PATCH',
    path: /^\/drives\/(\w+)$/,
    when: 'after the start',
    body: object({ drive_id: text }, { path_on_host: text, rate_limiter: limiter }),
  },
  put(
    /^\/network-interfaces\/(\w+)$/,
    { iface_id: text, host_dev_name: text },
    {
      guest_mac: { is: 'text', like: /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i },
      mtu: { is: 'count', least: 68, most: 65_535 },
      rx_rate_limiter: limiter,
      tx_rate_limiter: limiter,
    },
  ),
  put(/^\/vsock$/, { guest_cid: { is: 'count', least: 3 }, uds_path: text }, {}),
  put(/^\/entropy$/, {}, { rate_limiter: limiter }),
  put(/^\/serial$/, {}, { serial_out_path: text, rate_limiter: bucket }),
  {
    method: 'PUT',
    path: /^\/actions$/,
    when: 'always',
    body: object(
      { action_type: { is: 'text', oneOf: ['InstanceStart', 'FlushMetrics', 'SendCtrlAltDel'] } },
      {},
    ),
  },
];

function put(path: RegExp, needs: Record<string, Shape>, takes: Record<string, Shape>): Route {
  return { method: 'PUT', path, when: 'before the start', body: object(needs, takes) };
}

function object(needs: Record<string, Shape>, takes: Record<string, Shape>): Shape {
  return { is: 'object', needs, takes };
}
