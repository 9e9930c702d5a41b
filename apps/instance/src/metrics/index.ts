export { createMetrics, type Metrics, type MetricsSources } from './metrics.ts';
export { metricsRoute, serveMetrics } from './routes.ts';
