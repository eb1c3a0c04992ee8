// The whole page: the frame around it, and what is in it for somebody signed in or not.
import { useEffect, useMemo } from 'preact/hooks';
import { FileList } from '../files/list';
import { identityOf, type Session, sessionState } from '../session';
import { useStore } from '../store';
import { Transfers } from '../uploads/transfers';
import { DropZone } from './drop-zone';
import { FileSection } from './file-section';
import { Header } from './header';
import { LinkDialog } from './link-dialog';
import { LiveRegion } from './live-region';
import { Notices } from './notices';
import { SignIn } from './sign-in';
import { TransferSection } from './transfer-section';

export function App() {
  const state = useStore(sessionState);
  return (
    <>
      <a class="skip" href="#main">
        Skip to the content
      </a>
      <Header session={state.kind === 'signed-in' ? state.session : null} />
      <main id="main" tabIndex={-1}>
        {state.kind === 'starting' && <p class="starting">One moment…</p>}
        {state.kind === 'signed-out' && <SignIn problem={state.problem} />}
        {state.kind === 'signed-in' && <Workspace key={identityOf(state.session)} session={state.session} />}
      </main>
      <footer class="footer">
        <p>
          Uploads speak <abbr title="the open protocol for resumable uploads">tus</abbr>. See the{' '}
          <a href="/openapi.json">interface description</a>.
        </p>
      </footer>
      <Notices />
      <LinkDialog />
      <LiveRegion />
    </>
  );
}

/** One identity's uploads and files. */
function Workspace({ session }: { session: Session }) {
  const identity = identityOf(session);
  const files = useMemo(() => new FileList(), [identity]);
  const transfers = useMemo(() => new Transfers(identity, (id) => void files.refresh(id)), [identity]);

  useEffect(() => {
    void files.search('');
    void transfers.restore();
    return () => {
      transfers.close();
      files.close();
    };
  }, [identity]);

  useEffect(() => transfers.retryRefused(), [session.token]);

  return (
    <>
      <DropZone transfers={transfers} />
      <TransferSection transfers={transfers} />
      <FileSection files={files} />
    </>
  );
}
