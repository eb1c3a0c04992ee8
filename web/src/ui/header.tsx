import { identityOf, type Session, signOut } from '../session';
import { useStore } from '../store';
import { type Theme, theme } from '../theme';
import { LeaveIcon, Mark, MoonIcon, SunIcon, SystemIcon } from './icons';
import { Segments } from './segments';

export function Header({ session }: { session: Session | null }) {
  return (
    <header class="header">
      <a class="brand" href="/" aria-label="Outport, start page">
        <Mark />
        <span>Outport</span>
      </a>
      <div class="header-tools">
        {session && <Identity session={session} />}
        <ThemeChoice />
      </div>
    </header>
  );
}

function Identity({ session }: { session: Session }) {
  const named = session.tenant || session.subject;
  return (
    <div class="identity">
      {named && (
        <span class="identity-name" title={`Signed in as ${identityOf(session)}`}>
          <span class="unseen">Signed in as </span>
          {identityOf(session)}
        </span>
      )}
      <button type="button" class="button quiet small" onClick={signOut}>
        <LeaveIcon />
        <span class="from-tablet">Sign out</span>
        <span class="unseen to-tablet">Sign out</span>
      </button>
    </div>
  );
}

const THEMES: { value: Theme; label: string; content: () => preact.JSX.Element }[] = [
  { value: 'light', label: 'Light', content: SunIcon },
  { value: 'system', label: 'As the system', content: SystemIcon },
  { value: 'dark', label: 'Dark', content: MoonIcon },
];

function ThemeChoice() {
  return (
    <Segments
      legend="Colours"
      name="theme"
      value={useStore(theme)}
      options={THEMES.map(({ value, label, content: Content }) => ({ value, label, content: <Content /> }))}
      onChange={(value) => theme.set(value)}
      compact
    />
  );
}
