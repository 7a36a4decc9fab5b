import type { FastifyInstance, FastifyRequest } from 'fastify'

/** Turns texts of the query string and path into the numbers and booleans that a route's schema asks for; bodies are left alone. */
export const coerceQueries = (app: FastifyInstance): void => {
  app.addHook('preValidation', async request => {
    coerce(request.query, propertiesOf(request, 'querystring'))
    coerce(request.params, propertiesOf(request, 'params'))
  })
}

type Properties = Readonly<Record<string, { readonly type?: string }>>

const propertiesOf = (request: FastifyRequest, part: 'querystring' | 'params'): Properties => {
  const schema = request.routeOptions.schema?.[part] as { properties?: Properties } | undefined
  return schema?.properties ?? {}
}

const coerce = (values: unknown, properties: Properties): void => {
  const record = values as Record<string, unknown>
  for (const [name, { type }] of Object.entries(properties)) {
    const value = record[name]
    if (typeof value === 'string') record[name] = coerceText(value, type)
  }
}

const coerceText = (text: string, type: string | undefined): unknown => {
  if ((type === 'integer' || type === 'number') && /^-?\d{1,15}(\.\d{1,15})?$/.test(text)) return Number(text)
  if (type === 'boolean' && (text === 'true' || text === 'false')) return text === 'true'
  return text
}
