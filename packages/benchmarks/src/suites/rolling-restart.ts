import { onFleet } from '../on-fleet.ts'
import { isBroken, measureRollingRestart, rollingRestartTable } from '../rolling-restart.ts'

/** `npm run bench -- rolling-restart [nodes]`: a rolling restart under load, by the command that operators use. */
export const rollingRestart = async (nodes: number): Promise<void> => {
  const simulators = Array.from({ length: nodes }, () => ({ speed: 1 }))
  await onFleet({ simulators, areOwned: true, env: { AUTH_MODE: 'none' } }, async fleet => {
    const found = await measureRollingRestart(fleet)
    if (isBroken(found)) process.exitCode = 1
    const title = `\`npm run rolling-restart\` on ${nodes} simulated GPUs, one at a time, with three tasks of 1 s for each under way all the time, Node ${process.version}`
    const text = [title, rollingRestartTable(found), `\`\`\`\n${found.said.trim()}\n\`\`\``].join('\n\n')
    return { name: 'rolling-restart', text }
  })
}
