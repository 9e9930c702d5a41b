export { runCommandLine } from './command-line.ts';
export { processTerminal } from './terminal.ts';
