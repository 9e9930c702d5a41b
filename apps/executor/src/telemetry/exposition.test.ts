import { expect, test } from 'vitest';
import { joinExpositions, readExposition } from './exposition.ts';

const exporter = `# HELP node_load1 1m load average.
# TYPE node_load1 gauge
node_load1 0.5
# HELP go_threads Threads.
# TYPE go_threads gauge
go_threads 7
# TYPE http_seconds histogram
http_seconds_bucket{le="1"} 2
http_seconds_bucket{le="+Inf"} 3
http_seconds_sum 4
http_seconds_count 3
process_cpu_seconds_total 1
untyped 1 1700000000000
`;

test("families about the exporter's own process are dropped and labels added", () => {
  const labelled = joinExpositions([readExposition(exporter, { sg_instance: 'docker-registry' })]);
  expect(labelled).toBe(`# HELP node_load1 1m load average.
# TYPE node_load1 gauge
node_load1{sg_instance="docker-registry"} 0.5
# TYPE http_seconds histogram
http_seconds_bucket{sg_instance="docker-registry",le="1"} 2
http_seconds_bucket{sg_instance="docker-registry",le="+Inf"} 3
http_seconds_sum{sg_instance="docker-registry"} 4
http_seconds_count{sg_instance="docker-registry"} 3
untyped{sg_instance="docker-registry"} 1 1700000000000
`);
});

test('a family of two sources is one family', () => {
  const joined = joinExpositions([
    readExposition('# TYPE node_load1 gauge\nnode_load1 1\n', {}),
    readExposition('# TYPE node_load1 gauge\nnode_load1 2\n', { sg_instance: 'docker-registry' }),
  ]);
  expect(joined).toBe('# TYPE node_load1 gauge\nnode_load1 1\nnode_load1{sg_instance="docker-registry"} 2\n');
});
