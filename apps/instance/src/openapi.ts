import swagger from '@fastify/swagger';
import { apiErrorSchema, kilnVersion } from '@kiln/protocol';
import { jsonSchemaTransform, jsonSchemaTransformObject } from 'fastify-type-provider-zod';
import { z } from 'zod';
import type { HttpServer } from './http.ts';

const accessToken = 'accessToken';
const session = 'session';

/** Serves the OpenAPI document of `/.api` at `/.api/openapi.json`, made from the schemas of its routes. No token needed. */
export async function addOpenApi(server: HttpServer): Promise<void> {
  await server.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Kiln',
        description: 'The REST API of a Kiln instance, for people and programs.',
        version: kilnVersion,
      },
      components: {
        securitySchemes: {
          [accessToken]: {
            type: 'http',
            scheme: 'bearer',
            description: 'An access token: "Authorization: Bearer X", or "Authorization: token X".',
          },
          [session]: {
            type: 'apiKey',
            in: 'cookie',
            name: 'kiln_session',
            description: 'The cookie of a browser that signed in; __Host-kiln_session over https.',
          },
        },
      },
    },
    transform(route) {
      if (!route.url.startsWith('/.api/') || route.schema?.hide) {
        return { schema: { hide: true }, url: route.url };
      }
      // Only in the document: replies with errors are not made by schemas.
      const response = { ...responsesOf(route.schema), '4XX': apiErrorSchema };
      return jsonSchemaTransform({
        ...route,
        schema: {
          ...route.schema,
          response,
          security: route.schema?.security ?? [{ [accessToken]: [] }, { [session]: [] }],
        },
      });
    },
    transformObject(document) {
      const transformed = jsonSchemaTransformObject(document);
      if ('components' in transformed) keepReferenced(transformed);
      return transformed;
    },
  });
  await server.register(async (scope) => {
    scope.get('/.api/openapi.json', { schema: { hide: true } }, async () => server.swagger());
  });
}

function responsesOf(schema: unknown): object {
  return z.object({ response: z.looseObject({}) }).safeParse(schema).data?.response ?? {};
}

/** Each model comes once as what is sent and once as what is received; only what routes mention is of use. */
function keepReferenced(document: { components?: { schemas?: Record<string, unknown> } }): void {
  const schemas = document.components?.schemas;
  if (!schemas) return;
  const { components: _, ...rest } = document;
  const kept = new Set<string>();
  const unread: unknown[] = [rest];
  for (const part of unread) {
    for (const [, name = ''] of JSON.stringify(part).matchAll(/"#\/components\/schemas\/([^"]+)"/g)) {
      if (kept.has(name)) continue;
      kept.add(name);
      unread.push(schemas[name]);
    }
  }
  for (const name of Object.keys(schemas)) if (!kept.has(name)) delete schemas[name];
}
