import { type Static, type TObject, Type } from '@sinclair/typebox'
import { type ConfigFault, type ConfigRule, secretString } from './config.ts'

/** The variables that say where bytes are kept; pass `storeRule` to `readConfig` with them. */
export const storeConfig = {
  OUTPUT_STORE: Type.String({
    default: 'folder:outputs',
    pattern: '^(folder:.+|s3|node(:.+)?)$',
    rule: 'must be folder:<path>, a folder that all services share, or s3, or node[:<path>], a folder of each comfy-service for itself',
    description: 'Where outputs are kept; of one ledger alone, since what it does not know is removed in the end'
  }),
  S3_ENDPOINT: Type.Optional(
    Type.String({ description: 'host:port or URL of an S3-compatible server. Absent: AWS, by S3_REGION' })
  ),
  S3_PUBLIC_ENDPOINT: Type.Optional(
    Type.String({ description: 'The same server as callers reach it, for redirects to it. Absent: S3_ENDPOINT' })
  ),
  S3_ACCESS_KEY: Type.Optional(
    Type.String({
      pattern: '^\\S+$',
      rule: 'must be a key without spaces',
      description: "Absent, with S3_SECRET_KEY: the machine's own, as every AWS program finds them"
    })
  ),
  S3_SECRET_KEY: Type.Optional(secretString({ description: 'Belongs to S3_ACCESS_KEY' })),
  S3_REGION: Type.String({
    default: 'us-east-1',
    pattern: '^[A-Za-z0-9-]{1,64}$',
    description: 'Region of the bucket'
  }),
  S3_BUCKET: Type.Optional(Type.String({ pattern: '^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$', description: 'Must exist' })),
  S3_USE_SSL: Type.Optional(
    Type.Boolean({ description: 'Whether S3_ENDPOINT without a scheme is spoken to by https. Default true' })
  )
}

/** Where bytes are kept, as configured. */
export type StoreConfig = Static<TObject<typeof storeConfig>>

/** How to reach a bucket. */
export type S3Options = {
  readonly bucket: string
  readonly region: string
  readonly endpoint?: string
  readonly publicEndpoint?: string
  readonly credentials?: { readonly accessKeyId: string; readonly secretAccessKey: string }
}

/** The store that is configured; a folder is either shared by all services or, with `node`, of each comfy-service for itself. */
export type ConfiguredStore =
  | { readonly kind: 'folder' | 'node'; readonly folder: string }
  | { readonly kind: 's3'; readonly s3: S3Options }

/** Refuses an S3 that cannot be reached as described: a missing bucket, half a key, an endpoint that is none or contradicts S3_USE_SSL. */
export const storeRule: ConfigRule<StoreConfig> = values => {
  const faults: ConfigFault[] = []
  const { S3_ACCESS_KEY: accessKey, S3_SECRET_KEY: secretKey, S3_USE_SSL: useSsl } = values
  if (values.OUTPUT_STORE === 's3' && values.S3_BUCKET === undefined)
    faults.push({ name: 'S3_BUCKET', message: 'must be set because OUTPUT_STORE is s3' })
  if (accessKey !== undefined && secretKey === undefined)
    faults.push({ name: 'S3_SECRET_KEY', message: 'must be set because S3_ACCESS_KEY is' })
  if (accessKey === undefined && secretKey !== undefined)
    faults.push({ name: 'S3_ACCESS_KEY', message: 'must be set because S3_SECRET_KEY is' })
  for (const name of ['S3_ENDPOINT', 'S3_PUBLIC_ENDPOINT'] as const) {
    const message = values[name] === undefined ? undefined : endpointFault(values[name], useSsl)
    if (message !== undefined) faults.push({ name, message })
  }
  return faults
}

const endpointFault = (endpoint: string, useSsl: boolean | undefined): string | undefined => {
  const url = endpointUrl(endpoint, useSsl)
  const isPlain =
    url !== undefined && url.username + url.password + url.search + url.hash === '' && url.pathname === '/'
  if (!isPlain || !/^https?:$/.test(url.protocol))
    return 'must be host:port or an http:// or https:// URL without a path'
  if (useSsl === undefined || useSsl === (url.protocol === 'https:')) return undefined
  return `says ${url.protocol}// but S3_USE_SSL says the opposite; use one or the other`
}

const endpointUrl = (endpoint: string, useSsl = true): URL | undefined => {
  const text = endpoint.includes('://') ? endpoint : `${useSsl ? 'https' : 'http'}://${endpoint}`
  return URL.canParse(text) ? new URL(text) : undefined
}

/** The store that the configuration describes. */
export const configuredStore = (config: StoreConfig): ConfiguredStore => {
  const [, kind, folder] = /^(folder|node)(?::(.+))?$/.exec(config.OUTPUT_STORE) ?? []
  if (kind !== undefined) return { kind: kind as 'folder' | 'node', folder: folder ?? 'outputs' }
  return { kind: 's3', s3: s3Options(config)! }
}

/** How to reach the bucket that is configured; undefined when none is, which is right where outputs are kept elsewhere. */
export const s3Options = (config: StoreConfig): S3Options | undefined => {
  const { S3_BUCKET: bucket, S3_ENDPOINT, S3_PUBLIC_ENDPOINT, S3_USE_SSL, S3_ACCESS_KEY, S3_SECRET_KEY } = config
  if (bucket === undefined) return undefined
  const [endpoint, publicEndpoint] = [S3_ENDPOINT, S3_PUBLIC_ENDPOINT].map(
    text => text && endpointUrl(text, S3_USE_SSL)?.origin
  )
  return {
    bucket,
    region: config.S3_REGION,
    ...(endpoint && { endpoint }),
    ...(publicEndpoint && { publicEndpoint }),
    ...(S3_ACCESS_KEY &&
      S3_SECRET_KEY && { credentials: { accessKeyId: S3_ACCESS_KEY, secretAccessKey: S3_SECRET_KEY } })
  }
}
