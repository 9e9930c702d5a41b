export { createMetrics, type Metrics } from './metrics.ts';
export { collectVersions } from './versions.ts';
