/** `npm run rolling-restart`: restarts the ComfyUI of node after node through the API, so that the fleet goes on working. */
import { createClient } from '@comfy-balancer/client/client'
import { readCommand, UsageError, usage } from './arguments.ts'
import { rollingRestart } from './rolling-restart.ts'

const say = (line: string): void => void process.stdout.write(`${line}\n`)
const remark = (line: string): void => void process.stderr.write(`${line}\n`)

try {
  const { url, apiKey, plan } = readCommand(process.argv.slice(2), process.env)
  const client = createClient({ baseUrl: url, ...(apiKey === undefined ? {} : { apiKey }) })
  await rollingRestart(client, plan, say)
} catch (error) {
  process.exitCode = 1
  if (error instanceof UsageError) remark(`${error.message}\n\n${usage}`)
  else remark(`stopped: ${error instanceof Error ? error.message : String(error)}`)
}
