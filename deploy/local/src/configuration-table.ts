import { join } from 'node:path'
import { root } from './root.ts'

/** What a configuration schema says of one variable. */
export type Variable = {
  readonly type?: string
  readonly default?: unknown
  readonly minimum?: number
  readonly maximum?: number
  readonly pattern?: string
  readonly description?: string
  readonly secret?: boolean
  /** `folder`, `file` or `url` where a pattern cannot tell what is right. */
  readonly mustBe?: string
}
export type Schema = {
  readonly properties: Readonly<Record<string, Variable>>
  readonly required?: readonly string[]
}

const schemaOf = async (service: string, name: string): Promise<Schema> =>
  ((await import(join(root, 'services', service, 'dist/src/config.js'))) as Record<string, Schema>)[name]!

/** The schemas of both services, by name. */
export const readSchemas = async (): Promise<Record<'comfy-balancer' | 'comfy-service', Schema>> => ({
  'comfy-balancer': await schemaOf('comfy-balancer', 'ComfyBalancerConfig'),
  'comfy-service': await schemaOf('comfy-service', 'ComfyServiceConfig')
})

/** Where the table is kept. */
export const tableFile = join(root, 'deploy', 'CONFIGURATION.md')

/** Every variable of both services as a table in Markdown, from their schemas. */
export const configurationTable = async (): Promise<string> => {
  const { 'comfy-balancer': balancer, 'comfy-service': service } = await readSchemas()
  const names = new Set([...Object.keys(balancer.properties), ...Object.keys(service.properties)])
  const rows = [...names].map(name => rowOf(name, balancer.properties[name], service.properties[name]))
  return `${head}\n| variable | default | meaning |\n|---|---|---|\n${rows.join('\n')}\n`
}

const head = `# Configuration

Every variable of comfy-balancer and comfy-service. Made from their schemas by \`npm run configuration\`; a test keeps it current.

An empty variable counts as absent. A service refuses to start on a wrong one and lists every fault at once. Secrets may also come from the
file that \`<NAME>_FILE\` names. All services on one ledger need the same \`REDIS_*\`, \`OUTPUT_STORE\`, \`LEASE_MS\`, \`NODE_ALIVE_MS\`,
\`BLIND_MS\`, \`*_RETENTION_SECONDS\` and \`*QUARANTINE*\`.
`

const rowOf = (name: string, balancer: Variable | undefined, service: Variable | undefined): string => {
  const variable = (balancer ?? service)!
  const names = `\`${name}\`${variable.secret ? `, \`${name}_FILE\`` : ''}`
  const only = balancer && service ? '' : ` (${balancer ? 'comfy-balancer' : 'comfy-service'} only)`
  return `| ${names} | ${defaultsOf(balancer, service)} | ${meaningOf(variable)}${only} |`
}

const defaultsOf = (balancer: Variable | undefined, service: Variable | undefined): string => {
  const [one, other] = [balancer ?? service, service ?? balancer].map(variable => shown(variable?.default))
  return one === other ? one! : `${one} (balancer), ${other} (service)`
}

const shown = (value: unknown): string => {
  if (value === undefined) return ''
  return value === '' ? 'empty' : `\`${value}\``
}

const meaningOf = ({ type, minimum, maximum, description = '' }: Variable): string => {
  const range = [minimum === undefined ? '' : `from ${minimum}`, maximum === undefined ? '' : `to ${maximum}`]
  const bounds = type === 'integer' || type === 'number' ? range.filter(Boolean).join(' ') : ''
  return [description.replaceAll('|', '\\|'), bounds].filter(Boolean).join('; ')
}
