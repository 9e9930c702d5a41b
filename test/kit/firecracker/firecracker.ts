import { existsSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createSocketServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import {
  helloMagic,
  nonceBytes,
  readyMagic,
} from '../../../apps/executor/src/runtimes/microvm/channel/frames.ts';
import { routes } from './api-description.ts';
import { noteRequest, readBehaviour } from './behaviour.ts';
import { mistakeIn } from './shape.ts';

/**
 * Stands in for Firecracker: an API that checks every request against the description and its order, and a vsock behind which an agent
 * greets. It boots nothing. Paths are below the directory that it is started in, as they would be below its root.
 */
const [, , directory = '', ...given] = process.argv;
const behaviour = readBehaviour(directory);
if (given[0] === '--version') {
  console.log(`Firecracker v${behaviour.version ?? '1.16.1'}\n`);
  process.exit();
}
const { values } = parseArgs({
  args: given,
  options: { id: { type: 'string' }, 'api-sock': { type: 'string' } },
});
const agentPort = 5005;
let started = false;
let refusals = behaviour.connectionsRefused ?? 0;
const configured = new Set<string>();

console.log('Running Firecracker, or what stands in for it');
createServer(answer).listen(below(values['api-sock'] ?? ''));

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const pieces: Buffer[] = [];
  for await (const piece of request) pieces.push(piece);
  const text = Buffer.concat(pieces).toString('utf8');
  const what = `${request.method} ${request.url}`;
  const body: unknown = text === '' ? undefined : JSON.parse(text);
  if (request.method !== 'GET') noteRequest(directory, { what, body });
  if (behaviour.endsAt === what) {
    console.error('thread panicked');
    process.exit(148);
  }
  if (behaviour.ignores === what) return;
  const mistake =
    behaviour.refuses === what ? 'made to\nrefuse' : mistakeOf(request.method ?? '', request.url ?? '', body);
  if (mistake !== undefined) {
    response.writeHead(400, { 'Content-Type': 'application/json' });
    response.end(JSON.stringify({ fault_message: mistake }));
    return;
  }
  if (what === 'PUT /actions') start();
  response.writeHead(request.method === 'GET' ? 200 : 204).end();
}

function mistakeOf(method: string, url: string, body: unknown): string | undefined {
  const route = routes.find((one) => one.method === method && one.path.test(url));
  if (route === undefined) return `no route ${method} ${url}`;
  if (route.when !== 'always' && (route.when === 'after the start') !== started)
    return `${method} ${url} only ${route.when}`;
  const mistake = route.body && mistakeIn(body, route.body);
  if (mistake !== undefined) return mistake;
  const id = route.path.exec(url)?.[1];
  const named: unknown = Reflect.get(Object(body), 'drive_id') ?? Reflect.get(Object(body), 'iface_id') ?? id;
  if (named !== id) return `the body names ${String(named)}`;
  if (method === 'PATCH' && !configured.has(url)) return `there is no ${url}`;
  for (const key of ['kernel_image_path', 'initrd_path', 'path_on_host']) {
    const path: unknown = Reflect.get(Object(body), key);
    if (typeof path === 'string' && !existsSync(below(path))) return `${key}: no such file ${path}`;
  }
  if (url === '/actions' && !['/machine-config', '/boot-source'].every((one) => configured.has(one)))
    return 'there is nothing to start';
  configured.add(url);
  return undefined;
}

function start(): void {
  started = true;
  createSocketServer((socket) => {
    socket.on('error', () => undefined);
    socket.once('data', (line: Buffer) => {
      if (!line.toString().startsWith(`CONNECT ${agentPort}\n`) || behaviour.agentIsMissing || refusals > 0) {
        refusals -= 1;
        socket.destroy();
        return;
      }
      socket.write('OK 1073741824\n');
      greet(socket);
    });
  }).listen(below('/control.sock'));
}

/** Answers as the agent of a guest does, and says nothing more. */
function greet(socket: Socket): void {
  let seen: Buffer = Buffer.alloc(0);
  socket.on('data', (bytes: Buffer) => {
    seen = Buffer.concat([seen, bytes]);
    const at = seen.indexOf(helloMagic);
    const end = at + helloMagic.length + nonceBytes;
    if (at < 0 || seen.length < end) return;
    socket.write(Buffer.concat([readyMagic, seen.subarray(at + helloMagic.length, end)]));
    seen = Buffer.alloc(0);
  });
}

function below(path: string): string {
  return join(process.cwd(), path);
}
