import { readCommandLine } from './command-line.ts'
import { createSimulator } from './simulator.ts'

const tell = (event: string, fields: object): void => {
  process.stdout.write(`${JSON.stringify({ event, ...fields })}\n`)
}

const { tellsPrompts, ...options } = readCommandLine(process.argv.slice(2))
const simulator = createSimulator({
  ...options,
  ...(tellsPrompts ? { onPrompt: (moment, promptId) => tell(moment, { promptId, time: Date.now() }) } : {}),
  onCrash: () => process.kill(process.pid, 'SIGKILL')
})

process.on('SIGTERM', () => {
  void simulator.close()
  process.exit(143)
})
process.on('SIGINT', () => void simulator.close().then(() => process.exit(0)))

const url = await simulator.listen()
tell('listening', { port: simulator.port, url })
