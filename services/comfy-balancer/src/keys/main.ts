/** `npm run keys`: API keys and limits of tenants. A new key alone goes to stdout, so that a script can keep it; the rest to stderr. */
import { ConfigError, readConfig } from '@comfy-balancer/service-kit/config'
import { redisConfig, redisOptions, redisRule } from '@comfy-balancer/service-kit/redis-config'
import type { MadeApiKey } from '@comfy-balancer/task-store/api-keys'
import { connect } from '@comfy-balancer/task-store/connection'
import { createLedger, type Ledger } from '@comfy-balancer/task-store/ledger'
import { Type } from '@sinclair/typebox'
import { type Command, readCommand, UsageError, usage } from './arguments.ts'
import { describeKey, describeTenant, keyTable } from './report.ts'

const say = (line: string): void => void process.stdout.write(`${line}\n`)
const remark = (line: string): void => void process.stderr.write(`${line}\n`)

const connectWithinMs = 5_000

/** Nothing is to be done because what was asked for is not there. */
class NotThere extends Error {}

const show = ({ text, record }: MadeApiKey): void => {
  remark(describeKey(record))
  say(text)
}

const carryOut = async ({ apiKeys, tenants, nodes }: Ledger, command: Command): Promise<void> => {
  if (command.kind === 'create') return show(await apiKeys.create(command))
  if (command.kind === 'list') return say(keyTable(await apiKeys.list(command.tenant), (await nodes.now()).nowMs))
  if (command.kind === 'revoke') {
    if (!(await apiKeys.revoke(command.id))) throw new NotThere(`there is no key ${command.id}`)
    return remark(`key ${command.id} is revoked; services that just saw it forget it within 5 s`)
  }
  if (command.kind === 'rotate') {
    const made = await apiKeys.rotate(command.id, command.overlapMs)
    if (!made) throw new NotThere(`there is no key ${command.id} that is still good`)
    return show(made)
  }
  await changeLimits(tenants, command)
}

type LimitsCommand = Extract<Command, { kind: 'limits' }>

const changeLimits = async (tenants: Ledger['tenants'], { tenant, changes }: LimitsCommand): Promise<void> => {
  const before = await tenants.find(tenant)
  if (!before && changes.size === 0) throw new NotThere(`there is no tenant ${tenant}`)
  if (changes.size > 0) {
    const limits = Object.entries({ ...before?.limits, ...Object.fromEntries(changes) })
    await tenants.setLimits(tenant, Object.fromEntries(limits.filter(([, value]) => value !== undefined)))
  }
  const now = await tenants.find(tenant)
  if (now) say(describeTenant(now))
}

const main = async (words: readonly string[]): Promise<void> => {
  const command = readCommand(words)
  const config = readConfig(Type.Object(redisConfig), process.env, [redisRule])
  const log = { info: () => undefined, warn: (_: object, message: string) => remark(message) }
  const connection = await connect(redisOptions(config), log, connectWithinMs)
  try {
    await carryOut(createLedger(connection.commands, config.REDIS_KEY_PREFIX), command)
  } finally {
    await connection.close()
  }
}

try {
  await main(process.argv.slice(2))
} catch (error) {
  process.exitCode = 1
  if (error instanceof UsageError) remark(`${error.message}\n\n${usage}`)
  else remark(error instanceof ConfigError || !(error instanceof Error) ? String(error) : error.message)
}
