export { createMicrovmRuntime, type MicrovmRuntime, type MicrovmRuntimeOptions } from './microvm-runtime.ts';
