import { connect, createServer } from 'node:net';
import { joinSockets } from './join-sockets.ts';

/** Program behind `forwarded-port.ts`: passes connections to a port on to a socket. Ends with its parent. */
const [port, socketPath = ''] = process.argv.slice(2);
const server = createServer((socket) => joinSockets(socket, connect(socketPath)));
server.listen(Number(port), '127.0.0.1', () => process.stdout.write('ready\n'));
process.stdin.on('close', () => process.exit()).resume();
